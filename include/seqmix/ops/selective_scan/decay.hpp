// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <seqmix/simd/math.hpp>
#include <seqmix/simd/tile.hpp>

// Exponentials of a scan. A decay e^x near 1 must not be rounded to a number near 1: over the many
// tokens that such a state remembers, what rounding left out would come back as an error of the
// rate. So a decay is 2^k (1 + g) with k whole and g from -0.3 to 0.42, and
//
//     h = e^x h' + w   is   h = g (2^k h') + (2^k h' + w).

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class C>
struct scan_constants;

/// `growth` is (2^r - 1) / r over [-1/2, 1/2], highest power first: the minimax polynomial of
/// degree 4, off by 4.7e-7 of its value. As e^x is then that of an x which is off by at most 5.5e-7
/// of itself, no error grows with the number of tokens that a state remembers.
template <>
struct scan_constants<float> {
  using bits = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr float growth[] = {0x1.5d87dep-10f, 0x1.3cbe58p-7f, 0x1.c6b26ep-5f,
                                     0x1.ebfa4ep-3f, 0x1.62e42ep-1f};
  static constexpr float rounder = 0x1.8p23f;
  static constexpr float bias = 127;
  /// (atanh(s) / s - 1) / s^2 in powers of s^2 up to 1/9.
  static constexpr float atanh[] = {0x1.1ed7bep-3f, 0x1.1ebd0ep-3f, 0x1.99d208p-3f, 0x1.555502p-2f};
  /// sin(pi r) / r and (cos(pi r) - 1) / r^2 in powers of r^2 up to 1/4.
  static constexpr float sine[] = {-0x1.cc345ap-8f, 0x1.500ff8p-4f,  -0x1.32d112p-1f,
                                   0x1.466bc0p+1f,  -0x1.4abbcep+2f, 0x1.921fb6p+1f};
  static constexpr float cosine[] = {-0x1.8fb740p-6f, 0x1.e126f2p-3f, -0x1.55d076p+0f,
                                     0x1.03c1e4p+2f, -0x1.3bd3ccp+2f};
};

/// Below 3e-17 each.
template <>
struct scan_constants<double> {
  using bits = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr double growth[] = {
      0x1.c0638527edf34p-32, 0x1.e605f979c7a5dp-28, 0x1.b54167a0b9061p-24, 0x1.62bfd49ed0adfp-20,
      0x1.ffcbee3b0af8cp-17, 0x1.4309130961163p-13, 0x1.5d87fe7bbbe07p-10, 0x1.3b2ab6fba1e1cp-7,
      0x1.c6b08d7048f31p-5,  0x1.ebfbdff82c598p-3,  0x1.62e42fefa39f3p-1};
  static constexpr double rounder = 0x1.8p52;
  static constexpr double bias = 1023;
  static constexpr double atanh[] = {1.0 / 35, 1.0 / 33, 1.0 / 31, 1.0 / 29, 1.0 / 27, 1.0 / 25,
                                     1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                     1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
  static constexpr double sine[] = {
      0x1.2877020d52cf0p-31, -0x1.8a404211f9547p-26, 0x1.aaec32af93359p-21, -0x1.6fadb9f155744p-16,
      0x1.e8f434d018d63p-12, -0x1.e3074fde8871fp-8,  0x1.50783487ee782p-4,  -0x1.32d2cce62bd86p-1,
      0x1.466bc6775aae2p+1,  -0x1.4abbce625be53p+2,  0x1.921fb54442d18p+1};
  static constexpr double cosine[] = {
      0x1.ef6e308d6d1c4p-29, -0x1.2a0c591af8314p-23, 0x1.20c62c2f2d7f5p-18, -0x1.b6e24f44b128fp-14,
      0x1.f9d38a3763cc3p-10, -0x1.a6d1f2a204a8cp-6,  0x1.e1f506891babbp-3,  -0x1.55d3c7e3cbffap+0,
      0x1.03c1f081b5ac4p+2,  -0x1.3bd3cc9be45dep+2};
};

/// What is known of the exponents x of 2^x. The bits of a result are the same for every range that
/// holds for it.
enum class decay_range {
  near,    ///< |x| < 1/2: 2^k is 1
  normal,  ///< |x| < 126
  any,     ///< below 2^-126.5 is 0, above 2^127.5 is 2^127.5 (2^-1022.5 and 2^1023.5 in double)
};

template <class V>
struct decay_pair {
  V scale;   // 2^k; not set for the range `near`
  V growth;  // g
};

template <class C, class Arch, std::size_t N>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> scan_polynomial(const C (&factors)[N],
                                                        simd::vec<C, Arch> x) noexcept {
  using V = simd::vec<C, Arch>;
  V y(factors[0]);
  for (std::size_t i = 1; i < N; ++i) {
    y = simd::fma(y, x, V(factors[i]));
  }
  return y;
}

/// 2^(x rate).
template <decay_range Range, class C, class Arch>
SEQMIX_ALWAYS_INLINE decay_pair<simd::vec<C, Arch>> decay(simd::vec<C, Arch> x,
                                                          simd::vec<C, Arch> rate) noexcept {
  using constants = scan_constants<C>;
  using V = simd::vec<C, Arch>;
  decay_pair<V> d;
  V r;
  if constexpr (Range == decay_range::near) {
    r = x * rate;
  } else {
    // The sum has k + bias in the low bits of its mantissa, where a shift makes 2^k of it.
    const V rounder(constants::rounder + constants::bias);
    V shifted = simd::fma(x, rate, rounder);
    if constexpr (Range == decay_range::any) {
      // The first argument is the one that a NaN in the second replaces.
      shifted = xsimd::max(V(constants::rounder), shifted);
      shifted = xsimd::min(V(constants::rounder + 2 * constants::bias), shifted);
    }
    r = simd::fma(x, rate, rounder - shifted);
    if constexpr (Range == decay_range::any) {
      r = xsimd::min(V(C(0.5)), xsimd::max(V(C(-0.5)), r));
    }
    using I = simd::vec<typename constants::bits, Arch>;
    d.scale = std::bit_cast<V>(std::bit_cast<I>(shifted) << constants::mantissa);
  }
  d.growth = scan_polynomial<C, Arch>(constants::growth, r) * r;
  return d;
}

/// log(1 + e^x) from e^-|x|, and x itself above 20.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> scan_softplus(simd::vec<C, Arch> x) noexcept {
  using V = simd::vec<C, Arch>;
  const V e = simd::exp<C, Arch>(V(C(0)) - xsimd::abs(x));
  const V s = e / (V(C(2)) + e);  // log(1 + e) = 2 atanh(s)
  const V square = s * s;
  const V tail = scan_polynomial<C, Arch>(scan_constants<C>::atanh, square) * square;
  const V twice = s + s;
  const V sum = xsimd::max(V(C(0)), x) + simd::fma(twice, tail, twice);
  return xsimd::select(x > V(C(20)), x, sum);
}

/// e^(pi i x rate) - 1, of `rate` half turns in two parts.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void turn(simd::vec<C, Arch> x, simd::vec<C, Arch> rate,
                               simd::vec<C, Arch> rest, simd::vec<C, Arch>& re,
                               simd::vec<C, Arch>& im) noexcept {
  using constants = scan_constants<C>;
  using V = simd::vec<C, Arch>;
  using I = simd::vec<typename constants::bits, Arch>;
  const V one(C(1));
  const V rounder(constants::rounder);
  const V shifted = simd::fma(x, rate, rounder);
  V r = simd::fma(x, rest, simd::fma(x, rate, rounder - shifted));
  // Beyond what half turns can be told of, any angle will do, but no number outside of a circle.
  r = xsimd::min(V(C(0.5)), xsimd::max(V(C(-0.5)), r));
  const V square = r * r;
  const V sine = scan_polynomial<C, Arch>(constants::sine, square) * r;
  const V cosine = scan_polynomial<C, Arch>(constants::cosine, square) * square;  // less 1
  // An odd number of half turns, which the lowest bit tells, is a change of sign.
  const I odd = std::bit_cast<I>(shifted) << (8 * static_cast<int>(sizeof(C)) - 1);
  const V sign = std::bit_cast<V>(std::bit_cast<I>(one) ^ odd);
  re = simd::fma(sign, cosine, sign - one);
  im = sign * sine;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
