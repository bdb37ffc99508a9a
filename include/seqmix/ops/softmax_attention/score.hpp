// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <seqmix/core/config.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

/// Which score a score functor is asked about. Query and key count from their sequence's first;
/// `query + keys - queries` is the key that stands where the query does.
struct score_context {
  std::int64_t sequence;
  std::int64_t head;  ///< query head
  std::int64_t query;
  std::int64_t key;
  std::int64_t queries;  ///< of this sequence
  std::int64_t keys;
};

/// A functor `float f(float score, const score_context& at)` that changes a score, after
/// softcap, ALiBi and biases and before masks and softmax see it. It may be called for pairs that a
/// mask hides, and more than once for a pair; the pair is always one of the sequence's. Trivially
/// copyable, so that it can travel to a GPU; there its operator() is SEQMIX_HOST_DEVICE.
///
/// On a CPU it costs least as arithmetic without branches and calls, of which compilers make vector
/// code. Distances then are best taken to `int` before they become floats: there is no vector
/// instruction that makes floats of 64-bit integers before AVX-512.
template <class F>
concept attention_score =
    std::is_trivially_copyable_v<F> && std::invocable<const F&, float, const score_context&> &&
    std::convertible_to<std::invoke_result_t<const F&, float, const score_context&>, float>;

/// A mask functor `bool f(const score_context& at)`: whether the query sees the key, beside the
/// options' masks, all of which must agree. A hidden pair has no influence, whatever it holds. The
/// same conditions as for a score functor.
template <class F>
concept attention_mask = std::is_trivially_copyable_v<F> &&
                         std::predicate<const F&, const score_context&> && !attention_score<F>;

/// A block of pairs: queries and keys of one sequence, and the query heads they belong to.
struct mask_block {
  std::int64_t sequence;
  std::int64_t head_begin, head_end;
  std::int64_t query_begin, query_end;
  std::int64_t key_begin, key_end;
  std::int64_t queries;  ///< of this sequence
  std::int64_t keys;
};

/// What a mask says of a block: no pair is visible, some may be, all are.
enum class block_visibility { empty, partial, full };

/// A mask functor that can answer for a whole block, as `block_visibility f.classify(mask_block)`:
/// empty blocks are then never computed, and full ones cost nothing. `partial` is always a right
/// answer.
template <class F>
concept block_attention_mask = attention_mask<F> && requires(const F& f, const mask_block& b) {
  { f.classify(b) } -> std::same_as<block_visibility>;
};

SEQMIX_END_NAMESPACE
