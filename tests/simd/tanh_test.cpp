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
}
