// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <seqmix/simd/fma.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {
namespace detail {

template <class C>
struct exp2_constants;

/// Minimax over [-1/2, 1/2] with the value at 0 held at exactly 1, so that a weight of the row's
/// maximum is exactly 1; relative error 4.3e-7.
template <>
struct exp2_constants<float> {
  using bits = std::int32_t;
  static constexpr float polynomial[] = {0.00111255092635f, 0.00966628254749f, 0.0555740046864f,
                                         0.240223506502f,   0.693142830611f,   1.0f};
  static constexpr float rounder = 0x1.8p23f;  // adding it leaves round(x) in the low mantissa bits
  static constexpr float least = -126.0f;      // below it the result is subnormal: taken as zero
  static constexpr bits bias = 127;
  static constexpr int mantissa = 23;
};

/// The same with relative error 1.8e-17 before rounding.
template <>
struct exp2_constants<double> {
  using bits = std::int64_t;
  static constexpr double polynomial[] = {
      0x1.c0638527edf34p-32, 0x1.e605f979c7a5dp-28, 0x1.b54167a0b9061p-24, 0x1.62bfd49ed0adfp-20,
      0x1.ffcbee3b0af8cp-17, 0x1.4309130961163p-13, 0x1.5d87fe7bbbe07p-10, 0x1.3b2ab6fba1e1cp-7,
      0x1.c6b08d7048f31p-5,  0x1.ebfbdff82c598p-3,  0x1.62e42fefa39f3p-1,  1.0};
  static constexpr double rounder = 0x1.8p52;
  static constexpr double least = -1022.0;
  static constexpr bits bias = 1023;
  static constexpr int mantissa = 52;
};

}  // namespace detail

/// 2^x for x up to 127 in float and 1023 in double; results below the normal range are zero, minus
/// infinity gives zero, NaN stays NaN.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> exp2(vec<C, Arch> x) noexcept {
  using constants = detail::exp2_constants<C>;
  using V = vec<C, Arch>;
  using I = vec<typename constants::bits, Arch>;
  const V shifted = x + V(constants::rounder);
  const V r = x - (shifted - V(constants::rounder));
  V p(constants::polynomial[0]);
  for (std::size_t i = 1; i < std::size(constants::polynomial); ++i) {
    p = simd::fma(p, r, V(constants::polynomial[i]));
  }
  // A product, not an addition to p's exponent bits: NaN survives it.
  const I exponent = (std::bit_cast<I>(shifted) + I(constants::bias)) << constants::mantissa;
  return xsimd::select(x < V(constants::least), V(C(0)), p * std::bit_cast<V>(exponent));
}

/// 1 / (1 + e^-x), from e^-|x|, which cannot overflow.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> logistic(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  const V one(C(1));
  const V e = xsimd::exp(V(C(0)) - xsimd::abs(x));
  return xsimd::select(x < V(C(0)), e, one) / (one + e);
}

/// log(1 + e^x), likewise. Where x is so large that e^-x is nothing beside it, x itself.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> softplus(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  const V zero(C(0));
  return xsimd::select(x < zero, zero, x) + xsimd::log1p(xsimd::exp(zero - xsimd::abs(x)));
}

/// Sum and maximum over the lanes, in lane order: the same bits on every call.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE C sum_lanes(vec<C, Arch> x) noexcept {
  alignas(64) C lane[lanes<C, Arch>];
  x.store_aligned(lane);
  C sum = lane[0];
  for (int i = 1; i < lanes<C, Arch>; ++i) {
    sum += lane[i];
  }
  return sum;
}

template <class C, class Arch>
SEQMIX_ALWAYS_INLINE C max_lanes(vec<C, Arch> x) noexcept {
  alignas(64) C lane[lanes<C, Arch>];
  x.store_aligned(lane);
  C largest = lane[0];
  for (int i = 1; i < lanes<C, Arch>; ++i) {
    largest = lane[i] > largest ? lane[i] : largest;
  }
  return largest;
}

}  // namespace simd

SEQMIX_END_NAMESPACE
