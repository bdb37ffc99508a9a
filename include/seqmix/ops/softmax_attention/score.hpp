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
/// softcap, ALiBi and bias and before masks and softmax see it. It may be called for pairs that a
/// mask hides, and more than once for a pair; the pair is always one of the sequence's. Trivially
/// copyable, so that it can travel to a GPU; there its operator() is SEQMIX_HOST_DEVICE.
template <class F>
concept attention_score =
    std::is_trivially_copyable_v<F> && std::invocable<const F&, float, const score_context&> &&
    std::convertible_to<std::invoke_result_t<const F&, float, const score_context&>, float>;

SEQMIX_END_NAMESPACE
