// SPDX-License-Identifier: Apache-2.0
#include <seqmix/simd/tanh.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"

namespace {

template <class C>
C tanh_of(C x) {
  using V = seqmix::simd::vec<C, seqmix::simd::default_arch>;
  alignas(64) C lane[seqmix::simd::lanes<C, seqmix::simd::default_arch>];
  seqmix::simd::tanh<C, seqmix::simd::default_arch>(V(x)).store_aligned(lane);
  return lane[0];
}

template <class C>
double worst_error() {
  double worst = 0;
  for (double x = 1e-30; x < 40; x = x < 1e-3 ? x * 3 : x + 0.00137) {
    const C rounded = static_cast<C>(x);
    const double expected = std::tanh(static_cast<double>(rounded));
    CHECK(tanh_of(-rounded) == -tanh_of(rounded));
    worst = std::fmax(worst, std::fabs(static_cast<double>(tanh_of(rounded)) / expected - 1));
  }
  return worst;
}

/// Numbers small and large, both sides of where one way of computing ends, and none at all.
constexpr double values[] = {1e-30,   -0.25, 0.7499999, 0.75, 0.7500001, -0.7500001, 1.5, 8.9,
                             -9.0001, 30,    0,         1e30, HUGE_VAL,  -HUGE_VAL,  NAN, -0.75};

/// A number's bits are those that it gets alone, whatever is beside it.
template <class C>
void check_neighbours() {
  using arch = seqmix::simd::default_arch;
  using V = seqmix::simd::vec<C, arch>;
  constexpr int w = seqmix::simd::lanes<C, arch>;
  for (const double first : values) {
    for (const double second : values) {
      alignas(64) C lane[w];
      for (int i = 0; i < w; ++i) {
        lane[i] = static_cast<C>(i % 2 == 0 ? first : second);
      }
      seqmix::simd::tanh<C, arch>(V::load_aligned(lane)).store_aligned(lane);
      for (int i = 0; i < w; ++i) {
        const C alone = tanh_of(static_cast<C>(i % 2 == 0 ? first : second));
        CHECK((lane[i] == alone || (std::isnan(lane[i]) && std::isnan(alone))));
      }
    }
  }
}

/// cap tanh(x / cap) of all these numbers for caps from tiny to huge.
template <class C>
double worst_cap_error() {
  using arch = seqmix::simd::default_arch;
  using V = seqmix::simd::vec<C, arch>;
  double worst = 0;
  for (const double cap : {1e-30, 0.5, 30.0, 50.0, 1e30}) {
    for (double x = 1e-3; x < 1e4; x *= 1.01) {
      alignas(64) C lane[seqmix::simd::lanes<C, arch>];
      seqmix::simd::soft_cap<C, arch>(V(static_cast<C>(x)), V(static_cast<C>(cap)),
                                      V(static_cast<C>(1 / cap)))
          .store_aligned(lane);
      const double expected = cap * std::tanh(static_cast<double>(static_cast<C>(x)) / cap);
      worst = std::fmax(worst, std::fabs(static_cast<double>(lane[0]) / expected - 1));
    }
  }
  return worst;
}

template <class C>
void check_not_finite() {
  constexpr C infinity = std::numeric_limits<C>::infinity();
  CHECK(tanh_of(infinity) == C(1));
  CHECK(tanh_of(-infinity) == C(-1));
  CHECK(std::isnan(tanh_of(std::numeric_limits<C>::quiet_NaN())));
}

}  // namespace

TEST_CASE("tanh", "[simd]") {
  CHECK(worst_error<float>() < 4e-7);
  CHECK(worst_error<double>() < 1e-15);
  CHECK(tanh_of(0.0f) == 0.0f);
  CHECK(tanh_of(0.0) == 0.0);
  check_not_finite<float>();
  check_not_finite<double>();
  check_neighbours<float>();
  check_neighbours<double>();
  CHECK(worst_cap_error<float>() < 5e-7);
  CHECK(worst_cap_error<double>() < 2e-15);
}
