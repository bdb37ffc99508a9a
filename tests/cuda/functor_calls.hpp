// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <seqmix/common/math.hpp>
#include <seqmix/core/context.hpp>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <utility>
#include <vector>

#include "support/attention_problem.hpp"

namespace seqmix_test {

/// What a functor may rely on: the pair is one of the sequence's. Functors look things up by it.
SEQMIX_HOST_DEVICE inline void expect_pair(const seqmix::score_context& at) {
  if (at.query < 0 || at.query >= at.queries || at.key < 0 || at.key >= at.keys) {
#if defined(__CUDA_ARCH__)
    __trap();
#else
    std::abort();
#endif
  }
}

/// Soft-capped, falling with the distance, different for each head and sequence.
struct capped_and_near {
  float cap;
  float slope;
  float inverse = 1 / cap;

  SEQMIX_HOST_DEVICE float operator()(float score, const seqmix::score_context& at) const {
    expect_pair(at);
    const auto distance = static_cast<float>(at.query + at.keys - at.queries - at.key);
    const auto place = static_cast<float>(1 + at.head + 2 * at.sequence);
    return cap * seqmix::math::tanh(score * inverse) - slope / place * fabsf(distance);
  }
};
inline constexpr capped_and_near test_score{3, 0.05f};

/// Several masks as one type, so that its kernels are compiled once.
struct test_mask {
  /// Pairs at random, different for each head and sequence; chunks of 48 tokens and the one before;
  /// a prefix of 50 keys; no pair at all; the blocks of lists.
  enum class rule { scattered, chunks, prefix, nothing, lists };

  rule which;
  bool answers = true;                  ///< for blocks; else all are partial
  unsigned long long* asked = nullptr;  ///< counts the pairs that were asked about
  seqmix::block_list_mask lists{};      ///< in the memory of who runs it

  SEQMIX_HOST_DEVICE bool operator()(const seqmix::score_context& at) const {
    expect_pair(at);
    count();
    switch (which) {
      case rule::chunks:
        return chunks()(at);
      case rule::prefix:
        return prefix()(at);
      case rule::nothing:
        return false;
      case rule::lists:
        return lists(at);
      default: {
        auto x = static_cast<std::uint32_t>(((at.sequence * 7 + at.head) * 1000 + at.query) * 1000 +
                                            at.key);
        x = (x ^ (x >> 16)) * 0x45d9f3bu;
        x = (x ^ (x >> 16)) * 0x45d9f3bu;
        return (x >> 8) % 3 != 0;
      }
    }
  }

  SEQMIX_HOST_DEVICE seqmix::block_visibility classify(const seqmix::mask_block& b) const {
    if (answers && which == rule::chunks) {
      return chunks().classify(b);
    }
    if (answers && which == rule::prefix) {
      return prefix().classify(b);
    }
    if (answers && which == rule::lists) {
      return lists.classify(b);
    }
    return answers && which == rule::nothing ? seqmix::block_visibility::empty
                                             : seqmix::block_visibility::partial;
  }

 private:
  SEQMIX_HOST_DEVICE static constexpr seqmix::chunk_mask chunks() { return {48, 1}; }
  SEQMIX_HOST_DEVICE static constexpr seqmix::prefix_mask prefix() { return {50}; }

  SEQMIX_HOST_DEVICE void count() const {
    if (asked != nullptr) {
#if defined(__CUDA_ARCH__)
      atomicAdd(asked, 1ull);
#else
      ++*asked;
#endif
    }
  }
};

/// Lists of kept blocks at random, for calls of 2 sequences and 4 heads, of up to 300 queries and
/// 500 keys: maps for each sequence and each pair of heads.
struct random_block_lists {
  seqmix::block_grid grid;
  std::vector<std::int32_t> begins{0};
  std::vector<std::int32_t> blocks;

  random_block_lists(std::int64_t block_queries, std::int64_t block_keys)
      : grid{block_queries, block_keys, 300 / block_queries + 1, 2, 2} {
    for (std::int64_t row = 0; row < 4 * grid.query_blocks; ++row) {
      for (std::int32_t block = 0; block <= 500 / block_keys; ++block) {
        if (mix(static_cast<std::uint64_t>(row * 64 + block)) % 3 == 0) {
          blocks.push_back(block);
        }
      }
      begins.push_back(static_cast<std::int32_t>(blocks.size()));
    }
  }
  test_mask mask() const {
    test_mask m{test_mask::rule::lists};
    m.lists = {grid, begins.data(), blocks.data()};
    return m;
  }
};
/// Queries and keys of a block.
inline constexpr std::pair<std::int64_t, std::int64_t> block_sizes[] = {
    {64, 64}, {128, 128}, {16, 48}, {100, 30}};

// softmax_attention with functors that nvcc compiles, options as the problem has them; without a
// context the oracle, on host tensors. Each in a unit of its own.

void run_scored(attention_problem& p, const seqmix::context* ctx);                         // bf16
void run_masked(attention_problem& p, const test_mask& mask, const seqmix::context* ctx);  // f16
void run_scored_and_masked(attention_problem& p, const test_mask& mask,
                           const seqmix::context* ctx);  // bf16

}  // namespace seqmix_test
