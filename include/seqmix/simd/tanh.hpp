// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/math.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

namespace detail {

/// tanh x = x P(x^2) / Q(x^2) for |x| up to 9, minimax in relative error: 2.1e-8 before rounding.
/// Nearer to zero tanh x = x (1 + x^2 R(x^2)) to 3.3e-8, likewise: no division. Highest powers
/// first.
struct tanh_constants {
  static constexpr float limit = 9.0f;  // tanh of more is 1 in float
  static constexpr float p[] = {1.33546077e-8f, 2.06090418e-5f, 0.00349558561f, 0.133810235f,
                                0.99999998f};
  static constexpr float q[] = {7.77653575e-7f, 0.000328563073f, 0.0258769726f, 0.467143391f, 1.0f};
  static constexpr float small_square = 0.5625f;  // |x| up to 0.75
  static constexpr float r[] = {-0.00476949057f, 0.0196649134f, -0.0533902571f, 0.133265212f,
                                -0.333330691f};
};

/// tanh x by the quotient, for any x; NaN stays.
template <class Arch>
SEQMIX_ALWAYS_INLINE vec<float, Arch> tanh_quotient(vec<float, Arch> x) noexcept {
  using V = vec<float, Arch>;
  // In this order: the hardware takes the second where one is NaN.
  const V limited = xsimd::max(V(-tanh_constants::limit), xsimd::min(V(tanh_constants::limit), x));
  const V square = limited * limited;
  return limited * horner(tanh_constants::p, square) / horner(tanh_constants::q, square);
}

}  // namespace detail

/// cap tanh(x inverse), `inverse` being 1 / cap, in float to 4e-7 of it; NaN stays. A number's bits
/// do not depend on those beside it.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> soft_cap(vec<C, Arch> x, vec<C, Arch> cap,
                                           vec<C, Arch> inverse) noexcept {
  using V = vec<C, Arch>;
  const V y = x * inverse;
  if constexpr (std::is_same_v<C, float>) {
    using constants = detail::tanh_constants;
    const V square = y * y;
    const V near = x * simd::fma(square, detail::horner(constants::r, square), V(1.0f));
    const auto small = square <= V(constants::small_square);
    if (xsimd::all(small)) [[likely]] {
      return near;
    }
    return xsimd::select(small, near, cap * detail::tanh_quotient<Arch>(y));
  } else {
    // xsimd converts to integers on its way, which NaN and large numbers have no value in.
    const V number = xsimd::select(y == y, y, V(0.0));
    const V limited = xsimd::max(V(-20.0), xsimd::min(V(20.0), number));
    return cap * xsimd::select(y == y, xsimd::tanh(limited), y);
  }
}

/// tanh x, likewise.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> tanh(vec<C, Arch> x) noexcept {
  const vec<C, Arch> one(C(1));
  return soft_cap<C, Arch>(x, one, one);
}

}  // namespace simd

SEQMIX_END_NAMESPACE
