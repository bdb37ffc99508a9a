// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <seqmix/core/config.hpp>
#include <span>

SEQMIX_BEGIN_NAMESPACE

/// The published slope of ALiBi for head h of H, h < H:
///
///     2^(-8 (h + 1) / H)                     H a power of two
///     2^(-8 (h + 1) / P)                     h < P, the largest power of two below H
///     2^(-4 (2 (h - P) + 1) / P)             h >= P: every other slope of 2 P heads
///
/// Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases Enables Input Length
/// Extrapolation", 2022.
SEQMIX_ALWAYS_INLINE double alibi_slope(std::int64_t head, std::int64_t heads) noexcept {
  const auto power =
      static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads < 1 ? 1 : heads)));
  const std::int64_t half_steps = head < power ? 2 * (head + 1) : 2 * (head - power) + 1;
  return std::exp2(-4 * static_cast<double>(half_steps) / static_cast<double>(power));
}

/// The slopes of `slopes.size()` heads, for `softmax_attention_options::alibi_slopes`.
template <std::floating_point T>
SEQMIX_ALWAYS_INLINE void alibi_slopes(std::span<T> slopes) noexcept {
  const auto heads = static_cast<std::int64_t>(slopes.size());
  for (std::int64_t h = 0; h < heads; ++h) {
    slopes[static_cast<std::size_t>(h)] = static_cast<T>(alibi_slope(h, heads));
  }
}

SEQMIX_END_NAMESPACE
