// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/math.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

namespace detail {

/// tanh x = x P(x^2) / Q(x^2) for |x| up to 9, minimax in relative error: 2.1e-8 before rounding.
/// Highest powers first.
struct tanh_constants {
  static constexpr float limit = 9.0f;  // tanh of more is 1 in float
  static constexpr float p[] = {1.33546077e-8f, 2.06090418e-5f, 0.00349558561f, 0.133810235f,
                                0.99999998f};
  static constexpr float q[] = {7.77653575e-7f, 0.000328563073f, 0.0258769726f, 0.467143391f, 1.0f};
};

}  // namespace detail

/// tanh x, in float to 4e-7 of it; NaN stays.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> tanh(vec<C, Arch> x) noexcept {
  using V = vec<C, Arch>;
  if constexpr (std::is_same_v<C, float>) {
    using constants = detail::tanh_constants;
    // In this order: the hardware takes the second where one is NaN.
    const V limited = xsimd::max(V(-constants::limit), xsimd::min(V(constants::limit), x));
    const V square = limited * limited;
    return limited * detail::horner(constants::p, square) / detail::horner(constants::q, square);
  } else {
    // xsimd converts to integers on its way, which NaN and large numbers have no value in.
    const V limited = xsimd::max(V(-20.0), xsimd::min(V(20.0), x));
    return xsimd::select(x == x, xsimd::tanh(xsimd::select(x == x, limited, V(0.0))), x);
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
