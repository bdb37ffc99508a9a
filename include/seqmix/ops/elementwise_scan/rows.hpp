// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/problem.hpp>
#include <seqmix/simd/stream.hpp>
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

/// A block whose tokens are neighbours in memory, from its lowest place up. Of a reverse scan's
/// block the last row is the lowest.
template <class T, class C>
struct time_block {
  T* lowest;
  C* row;  // of the lowest token
  std::int64_t row_step;

  time_block(T* data, const scan_block& b, C* rows, std::int64_t step) noexcept
      : lowest(data + b.at), row(rows), row_step(step) {
    if (b.token_step < 0) {
      lowest -= b.tokens - 1;
      row += (b.tokens - 1) * step;
      row_step = -step;
    }
  }
  static bool fits(const scan_block& b) noexcept {
    return b.channel_step != 1 && (b.token_step == 1 || b.token_step == -1);
  }
};

/// Such a block to rows, square by square. A square's channels go through all their tokens before
/// the next, so that lines of the caches are used up while they are there; the lines of the next
/// block are asked for, since runs this short end before the hardware would.
template <class C, class Arch, class T>
void gather_time(const time_block<const T, C>& x, const scan_block& b) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  constexpr std::int64_t line = 64 / std::int64_t{sizeof(T)};
  using V = simd::vec<C, Arch>;
  const std::int64_t next = x.row_step < 0 ? -b.tokens : b.tokens;
  for (std::int64_t c = 0; c < b.channels; c += w) {
    const std::int64_t n = b.channels - c < w ? b.channels - c : w;
    const T* from = x.lowest + c * b.channel_step;
    C* to = x.row + c;
    std::int64_t t = 0;
    for (; t + w <= b.tokens; t += w) {
      V square[w];
      if (t % line == 0) {
        simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
          __builtin_prefetch(from + (i < n ? i : 0) * b.channel_step + t + next);
        });
      }
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        square[i] = i < n ? simd::load<C, Arch>(from + i * b.channel_step + t) : V(C(0));
      });
      simd::transpose<C, Arch>(square);
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        square[i].store_aligned(to + (t + i) * x.row_step);
      });
    }
    for (; t < b.tokens; ++t) {
      for (std::int64_t i = 0; i < w; ++i) {
        to[t * x.row_step + i] = i < n ? widen<C>(from[i * b.channel_step + t]) : C(0);
      }
    }
  }
}

/// What goes to `to`: x, or the sum of both.
template <bool Add, class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> joined(simd::vec<C, Arch> x, const T* to) noexcept {
  if constexpr (Add) {
    return simd::load<C, Arch>(to) + x;
  } else {
    return x;
  }
}
template <bool Add, class C, class T>
SEQMIX_ALWAYS_INLINE T joined_element(C x, const T& to) noexcept {
  return narrow<T>(Add ? widen<C>(to) + x : x);
}

/// The counterpart, which may add. Whole lines may go past the caches, without.
template <class C, class Arch, bool Add, class T>
void scatter_time(const time_block<T, const C>& x, const scan_block& b, bool streams) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  constexpr std::int64_t line = 64 / std::int64_t{sizeof(T)};
  using V = simd::vec<C, Arch>;
  const auto square_at = [&](std::int64_t c, std::int64_t t, V(&square)[w])
                             __attribute__((always_inline)) {
                               simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
                                 square[i] = V::load_aligned(x.row + (t + i) * x.row_step + c);
                               });
                               simd::transpose<C, Arch>(square);
                             };
  const bool whole_lines = streams && line % w == 0 &&
                           reinterpret_cast<std::uintptr_t>(x.lowest) % 64 == 0 &&
                           b.channel_step % line == 0;
  for (std::int64_t c = 0; c < b.channels; c += w) {
    const std::int64_t n = b.channels - c < w ? b.channels - c : w;
    T* to = x.lowest + c * b.channel_step;
    std::int64_t t = 0;
    for (; whole_lines && n == w && t + line <= b.tokens; t += line) {
      alignas(64) C turned[w][line];
      for (std::int64_t k = 0; k < line; k += w) {
        V square[w];
        square_at(c, t + k, square);
        simd::unroll<w>(
            [&](auto i) __attribute__((always_inline)) { square[i].store_aligned(turned[i] + k); });
      }
      for (std::int64_t i = 0; i < w; ++i) {
        for (std::int64_t k = 0; k < line; k += w) {
          simd::stream<C, Arch>(V::load_aligned(turned[i] + k), to + i * b.channel_step + t + k);
        }
      }
    }
    for (; t + w <= b.tokens; t += w) {
      V square[w];
      square_at(c, t, square);
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        if (i < n) {
          T* const at = to + i * b.channel_step + t;
          simd::store<C, Arch>(joined<Add, C, Arch>(square[i], at), at);
        }
      });
    }
    for (; t < b.tokens; ++t) {
      for (std::int64_t i = 0; i < n; ++i) {
        T& at = to[i * b.channel_step + t];
        at = joined_element<Add>(x.row[t * x.row_step + c + i], at);
      }
    }
  }
}

/// Rows of `step` elements of a block; whole registers are written, zeros behind the last channel.
template <class C, class Arch, class T>
void gather_rows(const T* data, const scan_block& b, C* rows, std::int64_t step) noexcept {
  if (time_block<const T, C>::fits(b)) {
    return gather_time<C, Arch>(time_block<const T, C>(data, b, rows, step), b);
  }
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const T* from = data + b.at;
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

/// The counterpart: the block's channels of rows into the tensor, or added to it.
template <class C, class Arch, bool Add, class T>
void scatter_rows(T* data, const scan_block& b, const C* rows, std::int64_t step,
                  bool streams) noexcept {
  if (time_block<T, const C>::fits(b)) {
    return scatter_time<C, Arch, Add>(time_block<T, const C>(data, b, rows, step), b, streams);
  }
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  T* to = data + b.at;
  const std::int64_t whole = b.channel_step == 1 ? b.channels / w * w : 0;
  for (std::int64_t t = 0; t < b.tokens; ++t) {
    for (std::int64_t c = 0; c < whole; c += w) {
      __builtin_prefetch(to + (t + b.tokens) * b.token_step + c, 1);
      T* const at = to + t * b.token_step + c;
      simd::store<C, Arch>(joined<Add, C, Arch>(V::load_aligned(rows + t * step + c), at), at);
    }
    for (std::int64_t c = whole; c < b.channels; c += w) {
      T* const at = to + t * b.token_step;
      V x = V::load_aligned(rows + t * step + c);
      if constexpr (Add) {
        x = simd::load_strided<C, Arch>(at, b.channel_step, c, b.channels) + x;
      }
      simd::store_strided<C, Arch>(x, at, b.channel_step, c, b.channels);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
