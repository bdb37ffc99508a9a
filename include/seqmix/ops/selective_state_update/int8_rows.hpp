// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/selective_state_update/problem.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

// Spelled out by width: g++ 12 mishandles a vector_size that depends on a template parameter.
typedef std::int8_t i8x4 __attribute__((vector_size(4)));
typedef std::int8_t i8x8 __attribute__((vector_size(8)));
typedef std::int8_t i8x16 __attribute__((vector_size(16)));
typedef std::int16_t i16x4 __attribute__((vector_size(8)));
typedef std::int16_t i16x8 __attribute__((vector_size(16)));
typedef std::int16_t i16x16 __attribute__((vector_size(32)));
template <int Lanes>
using i8_words = std::conditional_t<Lanes == 4, i8x4, std::conditional_t<Lanes == 8, i8x8, i8x16>>;

template <int Lanes>
using i16_words =
    std::conditional_t<Lanes == 4, i16x4, std::conditional_t<Lanes == 8, i16x8, i16x16>>;

/// Blocks of int8 and their scale to numbers and back. `count` numbers; registers of float where
/// they are whole and lie one after the other.
template <class C, class Arch>
struct int8_block {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  static constexpr bool vectors = std::is_same_v<C, float>;
  // g++ 12 converts between bytes and words of 32 bits one by one, but not by way of 16.
  using bytes = i8_words<static_cast<int>(lanes)>;
  using halves = i16_words<static_cast<int>(lanes)>;
  using words = simd::detail::u32_words<static_cast<int>(lanes)>;

  static void read(const std::int8_t* q, std::int64_t step, std::int64_t count, C scale,
                   C* out) noexcept {
    std::int64_t n = 0;
    if constexpr (vectors) {
      for (; step == 1 && n + lanes <= count; n += lanes) {
        bytes b;
        __builtin_memcpy(&b, q + n, sizeof(b));
        const words w = __builtin_convertvector(__builtin_convertvector(b, halves), words);
        const V x = xsimd::to_float(std::bit_cast<simd::vec<std::int32_t, Arch>>(w));
        (x * V(scale)).store_unaligned(out + n);
      }
    }
    for (; n < count; ++n) {
      out[n] = static_cast<C>(q[n * step]) * scale;
    }
  }

  static float write(const C* h, std::int64_t count, std::int8_t* q, std::int64_t step) noexcept {
    C largest(0);
    bool finite = true;
    std::int64_t n = 0;
    V most(C(0));
    typename V::batch_bool_type good(true);
    for (; n + lanes <= count; n += lanes) {
      const V x = xsimd::abs(V::load_unaligned(h + n));
      good = good && x <= V(std::numeric_limits<C>::max());
      most = xsimd::max(most, x);
    }
    finite = xsimd::all(good);
    largest = largest_of(most);
    for (std::int64_t i = n; i < count; ++i) {
      const C x = std::fabs(h[i]);
      finite = finite && x <= std::numeric_limits<C>::max();
      largest = x > largest ? x : largest;
    }
    if (!finite) {
      for (std::int64_t i = 0; i < count; ++i) {
        q[i * step] = 0;
      }
      return std::numeric_limits<float>::quiet_NaN();
    }
    const C factor = largest < static_cast<C>(least_block) ? C(0) : C(127) / largest;
    for (std::int64_t i = 0; i < count; i += lanes) {
      const std::int64_t left = count - i < lanes ? count - i : lanes;
      round(simd::load_strided<C, Arch>(h, 1, i, count), V(factor), q + i * step, step, left);
    }
    return static_cast<float>(factor == C(0) ? C(0) : largest / C(127));
  }

 private:
  /// Of lanes in pairs: the chain of one after the other would take longer than all the rest.
  static SEQMIX_ALWAYS_INLINE C largest_of(V x) noexcept {
    alignas(64) C lane[lanes];
    x.store_aligned(lane);
    const auto fold = [&](auto half) __attribute__((always_inline)) {
      simd::unroll<decltype(half)::value>([&](auto i) __attribute__((always_inline)) {
        lane[i] = lane[i + half] > lane[i] ? lane[i + half] : lane[i];
      });
    };
    if constexpr (lanes >= 16) {
      fold(std::integral_constant<int, 8>{});
    }
    if constexpr (lanes >= 8) {
      fold(std::integral_constant<int, 4>{});
    }
    if constexpr (lanes >= 4) {
      fold(std::integral_constant<int, 2>{});
    }
    fold(std::integral_constant<int, 1>{});
    return lane[0];
  }

  /// To the nearest, halves to even.
  static SEQMIX_ALWAYS_INLINE void round(V x, V factor, std::int8_t* q, std::int64_t step,
                                         std::int64_t count) noexcept {
    if constexpr (vectors) {
      // Adding it rounds, and leaves the number in the low bits.
      const V shifted = simd::fma(x, factor, V(0x1.8p23f));
      words w;
      __builtin_memcpy(&w, &shifted, sizeof(w));
      const bytes b = __builtin_convertvector(__builtin_convertvector(w, halves), bytes);
      if (step == 1 && count == lanes) {
        __builtin_memcpy(q, &b, sizeof(b));
        return;
      }
      for (std::int64_t i = 0; i < count; ++i) {
        q[i * step] = b[i];
      }
    } else {
      alignas(64) C lane[lanes];
      (x * factor).store_aligned(lane);
      for (std::int64_t i = 0; i < count; ++i) {
        q[i * step] = static_cast<std::int8_t>(std::nearbyint(lane[i]));
      }
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
