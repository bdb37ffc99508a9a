// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/simd/fold.hpp>
#include <seqmix/simd/load.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A block of numbers x as int8 and what that is multiplied by:
///
///     scale = max |x| / 127,   q = x 127 / max |x|, rounded to the nearest, halves to even
///
/// and zeros where max |x| is below 2^-119, which has no reciprocal. A number that is not finite
/// makes the scale, and so the block, NaN.
inline constexpr double least_block = 0x1p-119;

/// What the numbers of a register of blocks are multiplied by on their way to int8, and back.
template <class C, class Arch>
struct int8_factors {
  using V = simd::vec<C, Arch>;
  V factor;
  V scale;
  typename V::batch_bool_type finite;

  /// Of blocks whose largest magnitudes, by `larger_magnitude`, are `largest`.
  explicit SEQMIX_ALWAYS_INLINE int8_factors(V largest) noexcept
      : finite(largest <= V(std::numeric_limits<C>::max())) {
    const auto tiny = largest < V(static_cast<C>(least_block));
    factor = xsimd::select(tiny, V(C(0)), V(C(127)) / largest);
    scale = xsimd::select(tiny, V(C(0)), largest / V(C(127)));
    scale = xsimd::select(finite, scale, V(std::numeric_limits<C>::quiet_NaN()));
  }
};

/// Blocks of int8 and their scale to numbers and back. `count` numbers; registers of float where
/// they are whole and lie one after the other.
template <class C, class Arch>
struct int8_block {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  static constexpr bool vectors = std::is_same_v<C, float>;

  static void read(const std::int8_t* q, std::int64_t step, std::int64_t count, C scale,
                   C* out) noexcept {
    std::int64_t n = 0;
    if constexpr (vectors) {
      for (; step == 1 && n + lanes <= count; n += lanes) {
        (simd::load_bytes<Arch>(q + n) * V(scale)).store_unaligned(out + n);
      }
    }
    for (; n < count; ++n) {
      out[n] = static_cast<C>(q[n * step]) * scale;
    }
  }

  static float write(const C* h, std::int64_t count, std::int8_t* q, std::int64_t step) noexcept {
    V most[lanes];
    most[0] = V(C(0));
    for (std::int64_t n = 0; n < count; n += lanes) {
      most[0] = simd::larger_magnitude<C, Arch>(
          most[0], xsimd::abs(simd::load_strided<C, Arch>(h, 1, n, count)));
    }
    simd::unroll<static_cast<int>(lanes) - 1>(
        [&](auto i) __attribute__((always_inline)) { most[i + 1] = most[0]; });
    const int8_factors<C, Arch> block(
        simd::fold_each<C, Arch>(most, &simd::larger_magnitude<C, Arch>));
    const bool finite = xsimd::all(block.finite);
    for (std::int64_t i = 0; i < count; i += lanes) {
      const V x = finite ? simd::load_strided<C, Arch>(h, 1, i, count) : V(C(0));
      const V factor = finite ? block.factor : V(C(0));
      const std::int64_t left = count - i < lanes ? count - i : lanes;
      if constexpr (vectors) {
        const V rounded[1] = {round(x, factor)};
        if (step == 1 && left == lanes) {
          simd::store_bytes<1, Arch>(rounded, q + i);
        } else {
          std::int8_t byte[lanes];
          simd::store_bytes<1, Arch>(rounded, byte);
          for (std::int64_t k = 0; k < left; ++k) {
            q[(i + k) * step] = byte[k];
          }
        }
      } else {
        alignas(64) C lane[lanes];
        (x * factor).store_aligned(lane);
        for (std::int64_t k = 0; k < left; ++k) {
          q[(i + k) * step] = static_cast<std::int8_t>(std::nearbyint(lane[k]));
        }
      }
    }
    alignas(64) C scale[lanes];
    block.scale.store_aligned(scale);
    return static_cast<float>(scale[0]);
  }

  /// A row of whole registers to int8.
  static SEQMIX_ALWAYS_INLINE void round_row(const C* h, std::int64_t count, C factor,
                                             std::int8_t* q) noexcept {
    const V f(factor);
    std::int64_t n = 0;
    const auto each = [&](auto registers) __attribute__((always_inline)) {
      for (; n + registers * lanes <= count; n += registers * lanes) {
        V rounded[registers];
        simd::unroll<registers>([&](auto i) __attribute__((always_inline)) {
          rounded[i] = round(V::load_aligned(h + n + i * lanes), f);
        });
        simd::store_bytes<registers, Arch>(rounded, q + n);
      }
    };
    each(std::integral_constant<int, 4>{});
    each(std::integral_constant<int, 2>{});
    each(std::integral_constant<int, 1>{});
  }

  /// To the nearest, halves to even: into the lowest bytes of the lanes.
  static SEQMIX_ALWAYS_INLINE V round(V x, V factor) noexcept {
    // Adding it rounds, and leaves the number in the low bits.
    return simd::fma(x, factor, V(C(0x1.8p23)));
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
