// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <seqmix/cuda/softmax_attention/softcap.hpp>

#include "support/catch.hpp"

using seqmix::cuda::softcap_curve;

namespace {

/// As the kernels evaluate it.
template <int N>
float odd(const float (&terms)[N], float x) {
  float sum = terms[N - 1];
  for (int i = N - 2; i >= 0; --i) {
    sum = std::fma(sum, x * x, terms[i]);
  }
  return x * sum;
}

/// The largest error of a polynomial, relative to the result, up to `limit`.
template <int N>
double worst(const float (&terms)[N], float limit, double cap, double scale) {
  double most = 0;
  for (int i = -1000; i <= 1000; ++i) {
    const float x = limit * static_cast<float>(i) / 1000;
    const double expected = cap * std::tanh(static_cast<double>(x) * scale / cap);
    const double error = std::abs(static_cast<double>(odd(terms, x)) - expected);
    most = std::max(most, i == 0 ? error : error / std::abs(expected));
  }
  return most;
}

}  // namespace

TEST_CASE("both polynomials of a cap are tanh where they serve", "[softcap]") {
  for (const double cap : {0.02, 1.0, 3.0, 30.0, 50.0, 1e3, 1e4}) {
    for (const double scale : {0.01, 0.0625, 0.125, 1.0, 7.0}) {
      const softcap_curve c = softcap_curve::of(cap, scale);
      CAPTURE(cap, scale);
      CHECK(c.near == Approx(cap / scale / 4));
      CHECK(worst(c.near_terms, c.near, cap, scale) < 6e-7);
      if (c.middle > c.near) {
        CHECK(c.middle == Approx(cap / scale * 3 / 4));
        CHECK(worst(c.middle_terms, c.middle, cap, scale) < 8e-7);
      }
    }
  }
  // The usual caps have both.
  CHECK(softcap_curve::of(50, 0.0625).middle > softcap_curve::of(50, 0.0625).near);
  CHECK(softcap_curve::of(30, 0.088).middle > softcap_curve::of(30, 0.088).near);
}

TEST_CASE("caps and scales that float does not bear leave the polynomials out", "[softcap]") {
  for (const double cap : {1e-300, 1e-30, 1e-10, 1e10, 1e30, 1e300}) {
    for (const double scale : {1e-300, 1e-20, 1.0, 1e20, 1e300}) {
      const softcap_curve c = softcap_curve::of(cap, scale);
      CAPTURE(cap, scale);
      CHECK(c.cap > 0);
      CHECK(std::isfinite(c.cap));
      CHECK(c.near <= c.middle);
      if (c.near >= 0) {
        CHECK(worst(c.near_terms, std::min(c.near, 1e30f), std::clamp(cap, 0x1p-100, 0x1p100),
                    scale) < 6e-7);
      }
    }
  }
  CHECK(softcap_curve::of(0, 1).cap == 0);
  CHECK(softcap_curve::of(-1, 1).cap == 0);
}
