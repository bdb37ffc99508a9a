// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numbers>
#include <seqmix/cuda/softmax_attention/softcap.hpp>

#include "support/catch.hpp"

using seqmix::cuda::softcap_curve;

namespace {

// As the kernels evaluate it.
float near(const softcap_curve& c, float x) {
  return x * std::fma(std::fma(c.terms[2], x * x, c.terms[1]), x * x, c.terms[0]);
}
float far(const softcap_curve& c, float x) {
  return std::fma(-2 * c.cap, 1 / (1 + std::exp2(x * c.steep)), c.cap);
}

/// The largest error up to `limit`, and the same relative to the result.
struct errors {
  double absolute = 0;
  double relative = 0;

  errors(float (*capped)(const softcap_curve&, float), const softcap_curve& c, float limit,
         double cap, double scale) {
    for (int i = -1000; i <= 1000; ++i) {
      const float x = limit * static_cast<float>(i) / 1000;
      const double expected =
          std::numbers::log2e * cap * std::tanh(static_cast<double>(x) * scale / cap);
      const double error = std::abs(static_cast<double>(capped(c, x)) - expected);
      absolute = std::max(absolute, error);
      relative = std::max(relative, i == 0 ? error : error / std::abs(expected));
    }
  }
};

}  // namespace

TEST_CASE("a cap's polynomial and its exponentials are tanh where they serve", "[softcap]") {
  for (const double cap : {0.02, 1.0, 3.0, 30.0, 50.0, 1e3, 1e4}) {
    for (const double scale : {0.01, 0.0625, 0.125, 1.0, 7.0}) {
      const softcap_curve c = softcap_curve::of(cap, scale);
      CAPTURE(cap, scale);
      CHECK(c.near == Approx(cap / scale / 4));
      CHECK(errors(near, c, c.near, cap, scale).relative < 6e-7);
      CHECK(errors(far, c, 40 * c.near, cap, scale).absolute < 4e-7 * cap);
      CHECK(c.always == (cap > 1024 ? c.near : -1));
    }
  }
}

TEST_CASE("caps and scales whose coefficients float does not bear", "[softcap]") {
  for (const double cap : {1e-300, 1e-30, 1e-10, 1e10, 1e30, 1e300}) {
    for (const double scale : {1e-300, 1e-20, 1.0, 1e20, 1e300}) {
      const softcap_curve c = softcap_curve::of(cap, scale);
      const double bounded = std::clamp(cap, 0x1p-100, 0x1p100);
      CAPTURE(cap, scale);
      CHECK(c.cap > 0);
      CHECK(std::isfinite(c.cap));
      if (scale == 1) {
        CHECK((c.near > 0) == (cap > 1));
      }
      if (c.near >= 0 && c.terms[0] > 0x1p-120f) {
        CHECK(errors(near, c, std::min(c.near, 1e30f), bounded, scale).relative < 6e-7);
      }
    }
  }
  CHECK(softcap_curve::of(0, 1).cap == 0);
  CHECK(softcap_curve::of(-1, 1).cap == 0);
}
