// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/problem.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/transpose.hpp>

// Blocks of tokens and channels between the caller's tensors and rows in the compute type. Only
// what is not such rows already comes here.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Some tokens and channels of a tensor: steps are signed, a reverse scan walks down.
struct scan_block {
  std::int64_t at;            // of the first token's first channel
  std::int64_t token_step;    // elements
  std::int64_t channel_step;  // elements
  std::int64_t tokens;
  std::int64_t channels;
};

/// Asks for the lines of the next four channels: each is a stream of its own, too short for the
/// hardware to see.
template <class T>
SEQMIX_ALWAYS_INLINE void prefetch_channels(const T* from, std::int64_t channel_step,
                                            std::int64_t t) noexcept {
  for (std::int64_t i = 4; t % 16 == 0 && i < 8; ++i) {
    __builtin_prefetch(from + i * channel_step);
  }
}

/// Calls `four(c, t)` for 4 x 4 channels and tokens, `one(c, t)` for what is left: all channels of
/// a block whose tokens are neighbours in memory.
template <class Four, class One>
SEQMIX_ALWAYS_INLINE void over_4x4(const scan_block& b, Four&& four, One&& one) noexcept {
  const std::int64_t channels = b.channels / 4 * 4;
  const std::int64_t tokens = b.tokens / 4 * 4;
  for (std::int64_t c = 0; c < channels; c += 4) {
    for (std::int64_t t = 0; t < tokens; t += 4) {
      four(c, t);
    }
  }
  for (std::int64_t c = 0; c < b.channels; ++c) {
    for (std::int64_t t = c < channels ? tokens : 0; t < b.tokens; ++t) {
      one(c, t);
    }
  }
}

/// Rows of `step` elements of a block; whole registers are written, zeros behind the last channel.
template <class C, class Arch, class T>
void gather_rows(const T* data, const scan_block& b, C* rows, std::int64_t step) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const T* from = data + b.at;
  if constexpr (std::is_same_v<T, float> && std::is_same_v<C, float>) {
    if (b.channel_step != 1 && (b.token_step == 1 || b.token_step == -1)) {
      // A reverse scan's rows are filled from the last.
      const bool down = b.token_step < 0;
      const T* lowest = down ? from - (b.tokens - 1) : from;
      C* first = down ? rows + (b.tokens - 1) * step : rows;
      const std::int64_t row_step = down ? -step : step;
      over_4x4(
          b,
          [&](std::int64_t c, std::int64_t t) __attribute__((always_inline)) {
            prefetch_channels(lowest + c * b.channel_step + t, b.channel_step, t);
            simd::transpose_4x4(lowest + c * b.channel_step + t, b.channel_step,
                                first + t * row_step + c, row_step);
          },
          [&](std::int64_t c, std::int64_t t) __attribute__((always_inline)) {
            first[t * row_step + c] = lowest[c * b.channel_step + t];
          });
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        for (std::int64_t c = b.channels; c % w != 0; ++c) {
          rows[t * step + c] = C(0);
        }
      }
      return;
    }
    if (b.channel_step == 2) {  // a part of complex numbers
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        std::int64_t c = 0;
        for (; c + 4 <= b.channels; c += 4) {
          __builtin_prefetch(from + (t + b.tokens) * b.token_step + 2 * c);
          simd::unzip_4(from + t * b.token_step + 2 * c, rows + t * step + c);
        }
        for (; c % w != 0 || c < b.channels; ++c) {
          rows[t * step + c] = c < b.channels ? from[t * b.token_step + 2 * c] : C(0);
        }
      }
      return;
    }
  }
  const std::int64_t whole = b.channel_step == 1 ? b.channels / w * w : 0;
  for (std::int64_t t = 0; t < b.tokens; ++t) {
    for (std::int64_t c = 0; c < whole; c += w) {
      __builtin_prefetch(from + (t + b.tokens) * b.token_step + c);
      simd::load<C, Arch>(from + t * b.token_step + c).store_aligned(rows + t * step + c);
    }
    for (std::int64_t c = whole; c < b.channels; c += w) {
      simd::load_strided<C, Arch>(from + t * b.token_step, b.channel_step, c, b.channels)
          .store_aligned(rows + t * step + c);
    }
  }
}

/// The counterpart: the block's channels of rows into the tensor.
template <class C, class Arch, class T>
void scatter_rows(T* data, const scan_block& b, const C* rows, std::int64_t step) noexcept {
  using V = simd::vec<C, Arch>;
  T* to = data + b.at;
  if constexpr (std::is_same_v<T, float> && std::is_same_v<C, float>) {
    if (b.channel_step != 1 && (b.token_step == 1 || b.token_step == -1)) {
      const bool down = b.token_step < 0;
      T* lowest = down ? to - (b.tokens - 1) : to;
      const C* first = down ? rows + (b.tokens - 1) * step : rows;
      const std::int64_t row_step = down ? -step : step;
      over_4x4(
          b,
          [&](std::int64_t c, std::int64_t t) __attribute__((always_inline)) {
            prefetch_channels(lowest + c * b.channel_step + t, b.channel_step, t);
            simd::transpose_4x4(first + t * row_step + c, row_step, lowest + c * b.channel_step + t,
                                b.channel_step);
          },
          [&](std::int64_t c, std::int64_t t) __attribute__((always_inline)) {
            lowest[c * b.channel_step + t] = first[t * row_step + c];
          });
      return;
    }
  }
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t whole = b.channel_step == 1 ? b.channels / w * w : 0;
  for (std::int64_t t = 0; t < b.tokens; ++t) {
    for (std::int64_t c = 0; c < whole; c += w) {
      __builtin_prefetch(to + (t + b.tokens) * b.token_step + c, 1);
      simd::store<C, Arch>(V::load_aligned(rows + t * step + c), to + t * b.token_step + c);
    }
    for (std::int64_t c = whole; c < b.channels; c += w) {
      simd::store_strided<C, Arch>(V::load_aligned(rows + t * step + c), to + t * b.token_step,
                                   b.channel_step, c, b.channels);
    }
  }
}

/// Both parts of complex numbers that lie side by side.
template <class Arch>
void scatter_pairs(float* data, const scan_block& b, const float* first, const float* second,
                   std::int64_t step) noexcept {
  for (std::int64_t t = 0; t < b.tokens; ++t) {
    float* to = data + b.at + t * b.token_step;
    std::int64_t c = 0;
    for (; c + 4 <= b.channels; c += 4) {
      __builtin_prefetch(to + b.tokens * b.token_step + 2 * c, 1);
      simd::zip_4(first + t * step + c, second + t * step + c, to + 2 * c);
    }
    for (; c < b.channels; ++c) {
      to[2 * c] = first[t * step + c];
      to[2 * c + 1] = second[t * step + c];
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
