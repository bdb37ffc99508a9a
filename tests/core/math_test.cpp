// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <seqmix/common/math.hpp>
#include <vector>

#include "support/catch.hpp"

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();

/// Numbers of a range, evenly spaced, and likewise in the exponents of both signs.
std::vector<float> numbers(float low, float high) {
  std::vector<float> all;
  for (int i = 0; i <= 20000; ++i) {
    all.push_back(low + (high - low) * (static_cast<float>(i) / 20000));
  }
  for (float x = 1e-30f; x < std::max(-low, high); x *= 1.01f) {
    for (const float y : {x, -x}) {
      if (y >= low && y <= high) {
        all.push_back(y);
      }
    }
  }
  return all;
}

/// The largest relative error against the function in double. `least`: results below it may be
/// zero.
template <class F, class G>
double worst(const std::vector<float>& all, F f, G exact, double least = 0) {
  double most = 0;
  for (const float x : all) {
    const double expected = exact(static_cast<double>(x));
    const double error = std::abs(static_cast<double>(f(x)) - expected);
    if (error > 0 && std::abs(expected) >= least) {
      most = std::max(most, error / std::abs(expected));
    }
  }
  return most;
}

}  // namespace

TEST_CASE("functions for functors are those of the standard library", "[math]") {
  using namespace seqmix;
  const auto near_zero = [](float low, float high) { return numbers(low, high); };
  CHECK(worst(
            near_zero(-125.4f, 127.99f), [](float x) { return math::exp2(x); },
            [](double x) { return std::exp2(x); }) < 6e-7);
  CHECK(worst(
            near_zero(-86.9f, 88.7f), [](float x) { return math::exp(x); },
            [](double x) { return std::exp(x); }) < 2e-7);
  CHECK(worst(
            near_zero(1.2e-38f, 3e38f), [](float x) { return math::log(x); },
            [](double x) { return std::log(x); }) < 2e-7);
  CHECK(worst(
            near_zero(0.5f, 2), [](float x) { return math::log(x); },
            [](double x) { return std::log(x); }) < 2e-7);
  CHECK(worst(
            near_zero(-80, 80), [](float x) { return math::sigmoid(x); },
            [](double x) { return 1 / (1 + std::exp(-x)); }) < 4e-7);
  CHECK(worst(
            near_zero(-20, 20), [](float x) { return math::tanh(x); },
            [](double x) { return std::tanh(x); }) < 4e-7);
  CHECK(worst(
            near_zero(-20, 20), [](float x) { return math::fast_tanh(x); },
            [](double x) { return std::tanh(x); }) < 4e-7);
}

TEST_CASE("functions for functors at the ends of their ranges", "[math]") {
  using namespace seqmix;
  CHECK(math::exp2(0.0f) == 1);
  CHECK(math::exp2(128.0f) == infinity);
  CHECK(math::exp2(1e30f) == infinity);
  CHECK(math::exp2(infinity) == infinity);
  CHECK(math::exp2(-127.0f) == 0);
  CHECK(math::exp2(-1e30f) == 0);
  CHECK(math::exp2(-infinity) == 0);
  CHECK(math::exp(0.0f) == 1);
  CHECK(math::exp(88.8f) == infinity);
  CHECK(math::exp(infinity) == infinity);
  CHECK(math::exp(-88.0f) < 1e-38f);
  CHECK(math::exp(-infinity) == 0);
  CHECK(math::log(1.0f) == 0);
  CHECK(math::log(0.0f) == -infinity);
  CHECK(math::log(-0.0f) == -infinity);
  CHECK(math::log(infinity) == infinity);
  CHECK(std::isnan(math::log(-1.0f)));
  CHECK(std::isnan(math::log(-infinity)));
  CHECK(math::sigmoid(0.0f) == 0.5f);
  CHECK(math::sigmoid(infinity) == 1);
  CHECK(math::sigmoid(-infinity) == 0);
  CHECK(math::tanh(0.0f) == 0);
  CHECK(math::tanh(infinity) == Approx(1));
  CHECK(math::tanh(-infinity) == Approx(-1));
  for (const float y : {math::exp2(quiet_nan), math::exp(quiet_nan), math::log(quiet_nan),
                        math::sigmoid(quiet_nan), math::tanh(quiet_nan)}) {
    CHECK(std::isnan(y));
  }
}
