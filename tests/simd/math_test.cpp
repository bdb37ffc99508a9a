// SPDX-License-Identifier: Apache-2.0
#include <seqmix/simd/math.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace {

using arch = seqmix::simd::default_arch;

template <class C, class F>
std::vector<C> mapped(const std::vector<C>& x, F&& f) {
  constexpr int w = seqmix::simd::lanes<C, arch>;
  std::vector<C> y(x.size());
  for (std::size_t i = 0; i < x.size(); i += w) {
    alignas(64) C lane[w] = {};
    const auto n = std::min<std::size_t>(w, x.size() - i);
    std::copy_n(x.data() + i, n, lane);
    const auto in = seqmix::simd::vec<C, arch>::load_aligned(lane);
    f(in).store_aligned(lane);
    std::copy_n(lane, n, y.data() + i);
  }
  return y;
}

template <class C>
std::vector<C> exp2_of(const std::vector<C>& x) {
  return mapped(x, [](auto v) { return seqmix::simd::exp2<C, arch>(v); });
}

template <class C>
C exp2_of(C x) {
  return exp2_of(std::vector<C>{x})[0];
}

double worst_error(const std::vector<float>& x) {
  const auto y = exp2_of(x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = std::exp2(static_cast<double>(x[i]));
    worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - want) / want);
  }
  return worst;
}

double worst_error(const std::vector<double>& x) {
  const auto y = exp2_of(x);
  long double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double want = std::exp2(static_cast<long double>(x[i]));
    worst = std::max(worst, std::fabs(static_cast<long double>(y[i]) - want) / want);
  }
  return static_cast<double>(worst);
}

/// Where the polynomial's interval is crossed densely, then the whole exponent range at random.
template <class C>
std::vector<C> sweep(C least, C most) {
  std::vector<C> x;
  for (int i = -(1 << 20); i <= 1 << 20; ++i) {
    x.push_back(static_cast<C>(i) / static_cast<C>(1 << 20));
  }
  std::mt19937_64 random(5);
  std::uniform_real_distribution<C> anywhere(least, most);
  for (int i = 0; i < 1 << 20; ++i) {
    x.push_back(anywhere(random));
  }
  for (C n = least; n <= most; n += 1) {
    x.push_back(n);
    if (n + C(0.5) <= most) {
      x.push_back(n + C(0.5));
    }
  }
  return x;
}

template <class C>
void check_specials() {
  constexpr C inf = std::numeric_limits<C>::infinity();
  constexpr C nan = std::numeric_limits<C>::quiet_NaN();
  const int least = std::numeric_limits<C>::min_exponent - 1;
  const int most = std::numeric_limits<C>::max_exponent - 1;
  CHECK(std::bit_cast<std::array<char, sizeof(C)>>(exp2_of(C(0))) ==
        std::bit_cast<std::array<char, sizeof(C)>>(C(1)));
  CHECK(exp2_of(C(-0.0)) == C(1));
  CHECK(exp2_of(-inf) == C(0));
  CHECK(!std::signbit(exp2_of(-inf)));
  CHECK(std::isnan(exp2_of(nan)));
  CHECK(std::isnan(exp2_of(-nan)));
  CHECK(exp2_of(std::numeric_limits<C>::lowest()) == C(0));
  CHECK(exp2_of(C(-100000)) == C(0));
  CHECK(exp2_of(static_cast<C>(least)) == std::numeric_limits<C>::min());
  CHECK(exp2_of(std::nextafter(static_cast<C>(least), -inf)) == C(0));
  CHECK(exp2_of(static_cast<C>(most)) == std::ldexp(C(1), most));
  for (int n = least; n <= most; ++n) {
    REQUIRE(exp2_of(static_cast<C>(n)) == std::ldexp(C(1), n));
  }
}

template <class C>
void check_lane_reductions() {
  constexpr int w = seqmix::simd::lanes<C, arch>;
  alignas(64) C lane[w];
  C sum = 0;
  for (int i = 0; i < w; ++i) {
    lane[i] = static_cast<C>(1 << i);
    sum += lane[i];
  }
  using V = seqmix::simd::vec<C, arch>;
  CHECK(seqmix::simd::sum_lanes<C, arch>(V::load_aligned(lane)) == sum);
  for (int peak = 0; peak < w; ++peak) {
    for (int i = 0; i < w; ++i) {
      lane[i] = i == peak ? C(-1) : C(-2 - i);
    }
    CHECK(seqmix::simd::max_lanes<C, arch>(V::load_aligned(lane)) == C(-1));
  }
  // In lane order: a sum that rounds differently in any other order.
  C expected = 0;
  for (int i = 0; i < w; ++i) {
    lane[i] = C(1) / static_cast<C>(3 + 7 * i);
    expected = i == 0 ? lane[0] : expected + lane[i];
  }
  CHECK(seqmix::simd::sum_lanes<C, arch>(V::load_aligned(lane)) == expected);
}

}  // namespace

TEST_CASE("exp2 in float is accurate to 6e-7") {
  const auto x = sweep<float>(-126.0f, 127.0f);
  const double worst = worst_error(x);
  INFO("worst relative error " << worst);
  CHECK(worst <= 6e-7);
}

TEST_CASE("exp2 in double is accurate to 4e-16") {
  const auto x = sweep<double>(-1022.0, 1023.0);
  const double worst = worst_error(x);
  INFO("worst relative error " << worst);
  CHECK(worst <= 4e-16);
}

TEST_CASE("exp2 of special values and of integers") {
  check_specials<float>();
  check_specials<double>();
}

namespace {

/// The largest relative error, in units of the type's epsilon.
template <class C, class F>
double worst_ulps(const std::vector<C>& x, F&& f, long double (*reference)(long double)) {
  const std::vector<C> y = mapped(x, f);
  long double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double want = reference(static_cast<long double>(x[i]));
    worst = std::max(worst, std::fabs(static_cast<long double>(y[i]) - want) / want);
  }
  return static_cast<double>(worst / static_cast<long double>(std::numeric_limits<C>::epsilon()));
}

template <class C>
void check_exp(C least, C most) {
  using V = seqmix::simd::vec<C, arch>;
  const auto exp = [](V v) { return seqmix::simd::exp<C, arch>(v); };
  const auto exp2 = [](V v) { return seqmix::simd::precise_exp2<C, arch>(v); };
  CHECK(worst_ulps(sweep<C>(least, most), exp,
                   [](long double v) -> long double { return std::exp(v); }) <= 1);
  const int least_power = std::numeric_limits<C>::min_exponent;
  const int most_power = std::numeric_limits<C>::max_exponent - 1;
  CHECK(worst_ulps(sweep<C>(static_cast<C>(least_power), static_cast<C>(most_power)), exp2,
                   [](long double v) -> long double { return std::exp2(v); }) <= 1);
  constexpr C inf = std::numeric_limits<C>::infinity();
  constexpr C nan = std::numeric_limits<C>::quiet_NaN();
  for (const bool natural : {true, false}) {
    const auto of = [&](C v) {
      return natural ? mapped(std::vector<C>{v}, exp)[0] : mapped(std::vector<C>{v}, exp2)[0];
    };
    CAPTURE(natural);
    CHECK(of(C(0)) == C(1));
    CHECK(of(C(-0.0)) == C(1));
    CHECK(of(-inf) == C(0));
    CHECK(of(inf) == inf);
    CHECK(of(std::numeric_limits<C>::max()) == inf);
    CHECK(of(std::numeric_limits<C>::lowest()) == C(0));
    CHECK(of(static_cast<C>(2 * most_power)) == inf);
    CHECK(of(static_cast<C>(2 * least_power)) == C(0));
    CHECK(std::isnan(of(nan)));
    CHECK(std::isnan(of(-nan)));
  }
  for (int n = least_power; n <= most_power; ++n) {
    REQUIRE(mapped(std::vector<C>{static_cast<C>(n)}, exp2)[0] == std::ldexp(C(1), n));
  }
  CHECK(mapped(std::vector<C>{static_cast<C>(most_power + 1)}, exp2)[0] == inf);
}

}  // namespace

TEST_CASE("exp and precise_exp2 are within an ulp, to both ends of the range") {
  check_exp<float>(-86.9f, 88.72f);
  check_exp<double>(-708.0, 709.78);
}

TEST_CASE("the logarithm of normal numbers is within two units, and finite at 0", "[simd]") {
  using pack = seqmix::simd::pack<seqmix::simd::vec<float, arch>, 1>;
  const auto log = [](seqmix::simd::vec<float, arch> v) {
    pack x;
    x.part[0] = v;
    return seqmix::simd::log_of_normal(x)[0];
  };
  std::vector<float> x{1.0f};
  // Densely where the polynomial's interval ends and begins anew, then the whole range.
  for (int i = 0; i < 1 << 20; ++i) {
    x.push_back(0.5f + 1.5f * static_cast<float>(i) / static_cast<float>(1 << 20));
  }
  for (float v = std::numeric_limits<float>::min(); v < 1e38f; v *= 1.0003f) {
    x.push_back(v);
  }
  const std::vector<float> y = mapped(x, log);
  CHECK(y[0] == 0);
  double worst = 0;
  for (std::size_t i = 1; i < x.size(); ++i) {
    const double want = std::log(static_cast<double>(x[i]));
    worst = std::max(worst, want == 0 ? std::fabs(double{y[i]})
                                      : std::fabs(double{y[i]} - want) / std::fabs(want));
  }
  INFO("worst relative error " << worst);
  CHECK(worst <= 2 * static_cast<double>(std::numeric_limits<float>::epsilon()));
  CHECK(std::isfinite(mapped(std::vector<float>{0.0f}, log)[0]));
}

TEST_CASE("a NaN in one lane stays in its lane") {
  constexpr int w = seqmix::simd::lanes<float, arch>;
  for (int bad = 0; bad < w; ++bad) {
    std::vector<float> x(w, -1.0f);
    x[static_cast<std::size_t>(bad)] = std::numeric_limits<float>::quiet_NaN();
    const auto y = exp2_of(x);
    for (int i = 0; i < w; ++i) {
      const float lane = y[static_cast<std::size_t>(i)];
      CHECK((i == bad ? std::isnan(lane) : lane == 0.5f));
    }
  }
}

TEST_CASE("sum and maximum of lanes") {
  check_lane_reductions<float>();
  check_lane_reductions<double>();
}

namespace {

template <class C>
void check_logistic_and_softplus(double worst) {
  using V = seqmix::simd::vec<C, arch>;
  const auto first = [](V x) {
    alignas(64) C lane[seqmix::simd::lanes<C, arch>];
    x.store_aligned(lane);
    return static_cast<double>(lane[0]);
  };
  const auto near = [&](double actual, double expected) {
    return std::fabs(actual - expected) <= worst * expected;
  };
  for (double x = -80; x <= 80; x += 0.0371) {
    const auto rounded = static_cast<double>(static_cast<C>(x));
    const V in(static_cast<C>(x));
    CAPTURE(rounded);
    CHECK(near(first(seqmix::simd::logistic<C, arch>(in)), 1 / (1 + std::exp(-rounded))));
    const double plus = rounded > 40 ? rounded : std::log1p(std::exp(rounded));
    CHECK(near(first(seqmix::simd::softplus<C, arch>(in)), plus));
  }
  constexpr C inf = std::numeric_limits<C>::infinity();
  CHECK(first(seqmix::simd::logistic<C, arch>(V(inf))) == 1);
  CHECK(first(seqmix::simd::logistic<C, arch>(V(-inf))) == 0);
  CHECK(first(seqmix::simd::softplus<C, arch>(V(inf))) == static_cast<double>(inf));
  CHECK(first(seqmix::simd::softplus<C, arch>(V(-inf))) == 0);
  const V nan(std::numeric_limits<C>::quiet_NaN());
  CHECK(std::isnan(first(seqmix::simd::logistic<C, arch>(nan))));
  CHECK(std::isnan(first(seqmix::simd::softplus<C, arch>(nan))));
}

}  // namespace

TEST_CASE("the logistic function and softplus", "[simd]") {
  check_logistic_and_softplus<float>(4e-7);
  check_logistic_and_softplus<double>(1e-15);
}
