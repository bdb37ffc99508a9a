// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/simd/pack.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace simd {
namespace detail {

/// scale (coefficients[0] x^(N - 1) + ...) by Horner's rule. Spelled out: g++ 12 makes a loop of
/// one that has more than a register in work.
template <std::size_t N, class C, class W>
SEQMIX_ALWAYS_INLINE W horner(const C (&coefficients)[N], W x, C scale = 1) noexcept {
  W sum = all<W>(scale * coefficients[0]);
  unroll<static_cast<int>(N) - 1>([&](auto i) __attribute__((always_inline)) {
    sum = simd::fma(sum, x, all<W>(scale * coefficients[i + 1]));
  });
  return sum;
}

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

/// 2 (e^r - 1) / r over [-ln 2 / 2, ln 2 / 2]: 2 exactly, the rest minimax. Relative error 2.2e-8
/// in float and 3.6e-18 in double before rounding.
template <class C>
struct exp_constants;

template <>
struct exp_constants<float> {
  static constexpr float slope[] = {
      0.00277321770156f, 0.0167166585959f, 0.0833340424468f, 0.333332143138f, 1.0f, 2.0f};
  static constexpr float log2_e = 1.4426950408889634f;
  // ln 2 in two parts, the first so short that its products with exponents are exact.
  static constexpr float ln2_high = 0x1.62e4p-1f;
  static constexpr float ln2_low = 1.42860682031e-6f;
  // What exponents are kept to: powers of two come out as 0 and as infinity here.
  static constexpr float least = -87.34f;
  static constexpr float largest = 89.4f;
};

template <>
struct exp_constants<double> {
  static constexpr double slope[] = {0x1.ad7f3860105fep-25,
                                     0x1.28ad9b78decc6p-21,
                                     0x1.71df25b6cb749p-18,
                                     0x1.a01999e272e67p-15,
                                     0x1.a01a012a0dc2fp-12,
                                     0x1.6c16c18438a9dp-9,
                                     0x1.1111111127d12p-6,
                                     0x1.555555555083fp-4,
                                     0x1.55555555554f9p-2,
                                     0x1.000000000000ap+0,
                                     2.0};
  static constexpr double log2_e = 1.4426950408889634;
  static constexpr double ln2_high = 0x1.62e42fee00000p-1;
  static constexpr double ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double least = -708.4;
  static constexpr double largest = 710.4;
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
  const I exponent = (bits_as<typename constants::bits>(shifted) + I(constants::bias))
                     << constants::mantissa;
  return xsimd::select(x < V(constants::least), V(C(0)), p * bits_as<C>(exponent));
}

namespace detail {

/// (log(1 + f) - f) / f^2 over [-1/3, 1/3]: log(1 + f) to 2.6e-8 of it.
inline constexpr float log_polynomial[] = {0.140263289213f,  -0.153885453939f, 0.139958128333f,
                                           -0.164159595966f, 0.200111687183f,  -0.250078201294f,
                                           0.333331972361f,  -0.499999374151f};

}  // namespace detail

/// Of x from here up exp_parts is defined: e^x is 0 here.
template <class W>
inline constexpr element<W> least_exponent = detail::exp_constants<element<W>>::least;

/// Exponents within what exp_parts takes; NaN stays.
template <class W>
SEQMIX_ALWAYS_INLINE W limited_exponent(W x) noexcept {
  using constants = detail::exp_constants<element<W>>;
  // In this order: the hardware takes the second where one is NaN.
  return max(all<W>(least_exponent<W>), min(all<W>(constants::largest), x));
}

/// e^x = 2 e^r half_power with |r| up to ln 2 / 2: r is x itself where that is no more.
template <class W>
class exp_parts {
  using C = element<W>;
  using constants = detail::exp_constants<C>;
  using powers = detail::exp2_constants<C>;

 public:
  W r;
  W half_power;  // 0 for x below 2^-125.5 (in double 2^-1021.5), infinite above the range

  SEQMIX_ALWAYS_INLINE explicit exp_parts(W x) noexcept {
    const W rounder = all<W>(powers::rounder);
    const W shifted = simd::fma(x, all<W>(constants::log2_e), rounder);
    const W n = shifted - rounder;
    r = simd::fma(n, all<W>(-constants::ln2_low), simd::fma(n, all<W>(-constants::ln2_high), x));
    half_power = half_power_of(shifted);
  }
  /// 2^n e^remainder, n in the low bits of `shifted`.
  SEQMIX_ALWAYS_INLINE exp_parts(W remainder, W shifted) noexcept
      : r(remainder), half_power(half_power_of(shifted)) {}

  /// e^r - 1, with all its digits near r = 0.
  SEQMIX_ALWAYS_INLINE W growth() const noexcept {
    return detail::horner(constants::slope, r, C(0.5)) * r;
  }
  SEQMIX_ALWAYS_INLINE W value() const noexcept {
    return simd::fma(detail::horner(constants::slope, r), r, all<W>(2)) * half_power;
  }

 private:
  // Of one less than n, for what it multiplies is twice e^r: so the range's last power of two is in
  // reach.
  static SEQMIX_ALWAYS_INLINE W half_power_of(const W& shifted) noexcept {
    return each(shifted, [](const auto& s) __attribute__((always_inline)) {
      using bits = typename powers::bits;
      const auto exponent = bits_as<bits>(s);
      return bits_as<C>((exponent + decltype(exponent)(powers::bias - 1)) << powers::mantissa);
    });
  }
};

/// e^x within an ulp. Results below 2^-125.5 in float and 2^-1021.5 in double are zero; NaN stays
/// NaN. Unlike conversions to integers, adding the rounder is defined for all of them.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> exp(vec<C, Arch> x) noexcept {
  return exp_parts<vec<C, Arch>>(limited_exponent(x)).value();
}
template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> exp(const pack<V, N>& x) noexcept {
  return exp_parts<pack<V, N>>(limited_exponent(x)).value();
}

/// 2^x with the accuracy and the range of `exp`; powers of two are exact.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> precise_exp2(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  using constants = detail::exp2_constants<C>;
  // In this order: the hardware takes the second where one is NaN.
  const V limited = xsimd::max(V(constants::least), xsimd::min(V(C(constants::bias + 2)), x));
  const V shifted = limited + V(constants::rounder);
  const V r = (limited - (shifted - V(constants::rounder))) * V(C(0.6931471805599453));
  return exp_parts<V>(r, shifted).value();
}

/// 1 / (1 + e^-x); 0 where e^-x is above the range.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> logistic(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  const V one(C(1));
  return one / (one + simd::exp<C, Arch>(V(C(0)) - x));
}
template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> logistic(const pack<V, N>& x) noexcept {
  using W = pack<V, N>;
  const W one = all<W>(1);
  return one / (one + simd::exp(all<W>(0) - x));
}

/// log x of a normal number, within two ulps; of 0 a number below, or -infinity, and anything of
/// others.
template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> log_of_normal(const pack<V, N>& x) noexcept {
  using W = pack<V, N>;
  if constexpr (std::is_same_v<element<W>, float>) {
    // x = 2^n (1 + f) with f in [-1/3, 1/3).
    constexpr std::uint32_t one = 0x3f800000;
    constexpr std::uint32_t two_thirds = 0x3f2aaaab;
    const auto moved = [](const V& v) __attribute__((always_inline)) {
      const auto bits = bits_as<std::uint32_t>(v);
      return bits + decltype(bits)(one - two_thirds);
    };
    const W f = each(x, [&](const V& v) __attribute__((always_inline)) {
      const auto bits = moved(v);
      using I = std::remove_const_t<decltype(bits)>;
      return bits_as<float>((bits & I(0x7fffff)) + I(two_thirds)) - V(1);
    });
    // The exponent as the last bits of 2^23, which a difference makes a number.
    const W n = each(x, [&](const V& v) __attribute__((always_inline)) {
      const auto bits = moved(v);
      using I = std::remove_const_t<decltype(bits)>;
      return bits_as<float>((bits >> 23) | I(0x4b000000)) - V(0x1p23f + 127);
    });
    const W p = detail::horner(detail::log_polynomial, f);
    return simd::fma(n, all<W>(0.693147180559945), simd::fma(f * f, p, f));
  } else {
    return each(x, [](const V& v) __attribute__((always_inline)) { return xsimd::log(v); });
  }
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
