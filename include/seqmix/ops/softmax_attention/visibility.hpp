// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/config.hpp>
#include <seqmix/ops/softmax_attention/options.hpp>

SEQMIX_BEGIN_NAMESPACE

/// The keys that one query row sees: [0, sink_end) and [begin, end), disjoint and in this order.
struct key_ranges {
  std::int64_t sink_end;
  std::int64_t begin;
  std::int64_t end;

  constexpr bool contains(std::int64_t key) const noexcept {
    return key < sink_end || (key >= begin && key < end);
  }
  constexpr std::int64_t count() const noexcept {
    return sink_end + (end > begin ? end - begin : 0);
  }
};

/// The mask of one sequence: causal, window and sink tokens as index arithmetic.
struct visibility {
  std::int64_t queries;
  std::int64_t keys;
  bool causal;
  attention_window window;
  std::int64_t sink_tokens;

  SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE constexpr key_ranges row(std::int64_t i) const noexcept {
    const std::int64_t diagonal = i + keys - queries;
    const std::int64_t last = causal ? clamp(diagonal + 1) : keys;
    const std::int64_t end =
        window.right == unbounded ? last : lesser(last, clamp(diagonal + window.right + 1));
    const std::int64_t begin =
        window.left == unbounded ? 0 : lesser(end, clamp(diagonal - window.left));
    const bool windowed = window.left != unbounded || window.right != unbounded;
    const std::int64_t sink_end = windowed ? lesser(sink_tokens, last) : 0;
    if (sink_end >= begin) {
      return {0, 0, sink_end > end ? sink_end : end};
    }
    return {sink_end, begin, end};
  }

 private:
  SEQMIX_HOST_DEVICE static SEQMIX_ALWAYS_INLINE constexpr std::int64_t lesser(
      std::int64_t a, std::int64_t b) noexcept {
    return a < b ? a : b;
  }
  SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE constexpr std::int64_t clamp(
      std::int64_t key) const noexcept {
    return key < 0 ? 0 : lesser(key, keys);
  }
};

SEQMIX_END_NAMESPACE
