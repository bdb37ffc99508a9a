// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
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

/// e^r over [-ln 2 / 2, ln 2 / 2], twice: 1 and r exactly, the rest minimax. Relative error 2.2e-8
/// in float and 3.6e-18 in double before rounding.
template <class C>
struct exp_constants;

template <>
struct exp_constants<float> {
  static constexpr float twice[] = {
      0.00277321770156f, 0.0167166585959f, 0.0833340424468f, 0.333332143138f, 1.0f, 2.0f, 2.0f};
  static constexpr float log2_e = 1.4426950408889634f;
  // ln 2 in two parts, the first so short that its products with exponents are exact.
  static constexpr float ln2_high = 0x1.62e4p-1f;
  static constexpr float ln2_low = 1.42860682031e-6f;
  static constexpr float least = -86.98f;   // e^x is 2^-125.5
  static constexpr float largest = 88.73f;  // e^x is above the range
};

template <>
struct exp_constants<double> {
  static constexpr double twice[] = {0x1.ad7f3860105fep-25,
                                     0x1.28ad9b78decc6p-21,
                                     0x1.71df25b6cb749p-18,
                                     0x1.a01999e272e67p-15,
                                     0x1.a01a012a0dc2fp-12,
                                     0x1.6c16c18438a9dp-9,
                                     0x1.1111111127d12p-6,
                                     0x1.555555555083fp-4,
                                     0x1.55555555554f9p-2,
                                     0x1.000000000000ap+0,
                                     2.0,
                                     2.0};
  static constexpr double log2_e = 1.4426950408889634;
  static constexpr double ln2_high = 0x1.62e42fee00000p-1;
  static constexpr double ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double least = -708.04;
  static constexpr double largest = 709.79;
};

/// e^r times 2 to the power that `shifted` holds in its low bits. Powers are of one less, for what
/// is summed up is twice e^r: so the range's last power of two is in reach.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> scaled_exp(vec<C, Arch> r, vec<C, Arch> shifted) noexcept {
  using constants = exp2_constants<C>;
  using I = vec<typename constants::bits, Arch>;
  using V = vec<C, Arch>;
  V p(exp_constants<C>::twice[0]);
  for (std::size_t i = 1; i < std::size(exp_constants<C>::twice); ++i) {
    p = simd::fma(p, r, V(exp_constants<C>::twice[i]));
  }
  const I exponent = (std::bit_cast<I>(shifted) + I(constants::bias - 1)) << constants::mantissa;
  return p * std::bit_cast<V>(exponent);
}

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

/// e^x within an ulp and a half. Results below 2^-125.5 in float and 2^-1021.5 in double are zero;
/// NaN stays NaN. Unlike conversions to integers, adding the rounder is defined for all of them.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> exp(vec<C, Arch> x) noexcept {
  using constants = detail::exp_constants<C>;
  using V = vec<C, Arch>;
  const V rounder(detail::exp2_constants<C>::rounder);
  const V shifted = simd::fma(x, V(constants::log2_e), rounder);
  const V n = shifted - rounder;
  const V r = simd::fma(n, V(-constants::ln2_low), simd::fma(n, V(-constants::ln2_high), x));
  const V y = detail::scaled_exp<C, Arch>(r, shifted);
  const V large =
      xsimd::select(x > V(constants::largest), V(std::numeric_limits<C>::infinity()), y);
  return xsimd::select(x < V(constants::least), V(C(0)), large);
}

/// 2^x with the accuracy and the range of `exp`; powers of two are exact.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> precise_exp2(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  using constants = detail::exp2_constants<C>;
  const V shifted = x + V(constants::rounder);
  const V r = (x - (shifted - V(constants::rounder))) * V(C(0.6931471805599453));
  const V y = detail::scaled_exp<C, Arch>(r, shifted);
  const V large =
      xsimd::select(x >= V(C(constants::bias + 1)), V(std::numeric_limits<C>::infinity()), y);
  return xsimd::select(x < V(constants::least + C(0.5)), V(C(0)), large);
}

/// 1 / (1 + e^-x), from e^-|x|, which cannot overflow.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> logistic(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  const V one(C(1));
  const V e = simd::exp<C, Arch>(V(C(0)) - xsimd::abs(x));
  return xsimd::select(x < V(C(0)), e, one) / (one + e);
}

/// log(1 + e^x), likewise. Where x is so large that e^-x is nothing beside it, x itself.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> softplus(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  const V zero(C(0));
  return xsimd::select(x < zero, zero, x) + xsimd::log1p(simd::exp<C, Arch>(zero - xsimd::abs(x)));
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
