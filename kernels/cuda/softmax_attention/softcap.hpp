// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// log2(e) cap tanh(scale x / cap) of a raw product x as kernels compute it, in the powers of two
/// that weights are: x times a polynomial of x^2 where x is small, else by exponentials.
/// Coefficients contain cap and scale, so that they are operands of the instructions, out of
/// constant memory.
struct softcap_curve {
  /// Powers of two within which scores are bounded so that their weights relative to a row's first
  /// reference, or to `lowest_reference` where that is more, keep the precision of float and bf16,
  /// at most 2^75, and so do sums of 2^20 of them times values of 2^32.
  static constexpr float most_bounded = 100;

  float cap;     ///< log2(e) times the cap; 0: none
  float steep;   ///< 2 log2(e) scale / cap
  float near;    ///< up to this |x| `terms` serve
  float always;  ///< up to this |x| they have to: elsewhere exponentials will do, too
  float terms[3];

  SEQMIX_HOST_DEVICE float lowest_reference() const noexcept { return cap - 75; }

  /// `scale` is positive. Beyond the bounds of the cap it is as good as none, or as zero; inside
  /// them float bears it.
  static softcap_curve of(double cap, double scale) noexcept {
    // Of least error, relative to tanh(u): 4e-7 up to u = 1/4.
    constexpr double of_tanh[] = {0.9999996043444652, -0.3332190822463491, 0.1284161342479111};
    // The error of exponentials is 1e-7 of the cap: too much for small scores below wide caps.
    constexpr double wide = 1024;
    softcap_curve c{};
    if (!(cap > 0)) {
      return c;
    }
    const double bounded = std::clamp(cap, 0x1p-100, 0x1p100);
    const double inner = scale / bounded;
    c.cap = static_cast<float>(bounded * std::numbers::log2e);
    c.steep = static_cast<float>(2 * std::numbers::log2e * inner);
    // Coefficients that float does not bear: large ones leave the polynomial out, small ones fall
    // away, and with them what they would bend.
    bool fits = true;
    bool straight = false;
    double power = scale * std::numbers::log2e;
    for (int i = 0; i < 3; ++i) {
      const double term = of_tanh[i] * power;
      fits = fits && std::abs(term) < 0x1p120;
      straight = straight || (i > 0 && std::abs(term) < 0x1p-120);
      c.terms[i] = i > 0 && straight ? 0 : static_cast<float>(term);
      power *= inner * inner;
    }
    const double near = (straight ? 0x1p-12 : 0.25) / inner;
    c.near = fits ? static_cast<float>(std::min(near, 0x1p60)) : -1;
    c.always = bounded > wide ? c.near : -1;
    return c;
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
