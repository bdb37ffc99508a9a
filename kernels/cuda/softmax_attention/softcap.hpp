// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// cap tanh(scale x / cap) of a raw product x as kernels compute it: x times a polynomial of x^2,
/// one for small x, a longer one for larger, tanh beyond. Coefficients contain cap and scale, so
/// that they are operands of the instructions, out of constant memory.
struct softcap_curve {
  float cap;     ///< 0: none
  float inner;   ///< scale / cap
  float near;    ///< up to this |x| `near_terms` serve
  float middle;  ///< up to this `middle_terms`; not below `near`
  float near_terms[3];
  float middle_terms[5];

  /// `scale` is positive. Beyond the bounds of the cap it is as good as none, or as zero; inside
  /// them float bears it.
  static softcap_curve of(double cap, double scale) noexcept {
    // Of least error, relative to tanh(u): 4e-7 up to u = 1/4, 6e-7 up to 3/4.
    constexpr double near_of_tanh[] = {0.9999996043444652, -0.3332190822463491, 0.1284161342479111};
    constexpr double middle_of_tanh[] = {0.9999994349235521, -0.33328251530445113,
                                         0.13258983202762606, -0.05005630216493367,
                                         0.012929631950288994};
    softcap_curve c{};
    if (!(cap > 0)) {
      return c;
    }
    const double bounded = std::clamp(cap, 0x1p-100, 0x1p100);
    const double inner = scale / bounded;
    c.cap = static_cast<float>(bounded);
    c.inner = static_cast<float>(inner);
    // Polynomials whose coefficients float does not bear serve nothing.
    c.near = fold(near_of_tanh, scale, inner, c.near_terms) ? static_cast<float>(0.25 / inner) : -1;
    c.middle = fold(middle_of_tanh, scale, inner, c.middle_terms) ? static_cast<float>(0.75 / inner)
                                                                  : c.near;
    return c;
  }

 private:
  template <int N>
  static bool fold(const double (&of_tanh)[N], double scale, double inner,
                   float (&terms)[N]) noexcept {
    bool fits = true;
    double power = scale;
    for (int i = 0; i < N; ++i) {
      const double term = of_tanh[i] * power;
      fits = fits && std::abs(term) > 0x1p-120 && std::abs(term) < 0x1p120;
      terms[i] = static_cast<float>(term);
      power *= inner * inner;
    }
    return fits;
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
