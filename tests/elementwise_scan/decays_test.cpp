// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <seqmix/ops/rg_lru/rg_lru.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"

namespace {

template <class C>
struct limits : std::numeric_limits<C> {
  static constexpr C inf = std::numeric_limits<C>::infinity();
  static constexpr C nan = std::numeric_limits<C>::quiet_NaN();
  static constexpr C most = std::numeric_limits<C>::max();
};

/// One token of e^g h + b in each channel; many channels, so that registers are full.
template <class C>
struct one_token {
  std::vector<C> h, g, b;

  void add(C state, C decay, C input) {
    h.push_back(state);
    g.push_back(decay);
    b.push_back(input);
  }
  std::vector<C> run() const {
    const auto n = static_cast<std::int64_t>(h.size());
    std::vector<C> o(h.size());
    seqmix::elementwise_scan(seqmix::view(g.data(), 1, 1, n), seqmix::view(b.data(), 1, 1, n),
                             seqmix::view(o.data(), 1, 1, n),
                             {.initial_state = seqmix::view(h.data(), 1, n, 1)});
    return o;
  }
};

/// Numbers in [-1, 1), as many as are asked for, always the same.
struct numbers {
  std::uint64_t state = 7;
  long double operator()() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<long double>(static_cast<std::int64_t>(state >> 11)) * 0x1p-52L - 1;
  }
};

/// What rounding may leave of a token: a few units of its terms, and of the smallest numbers.
template <class C>
long double allowed(C h, C g, C b) {
  return 4 * static_cast<long double>(limits<C>::epsilon()) *
             (std::exp(static_cast<long double>(g)) * std::fabs(static_cast<long double>(h)) +
              std::fabs(static_cast<long double>(b))) +
         4 * static_cast<long double>(limits<C>::denorm_min());
}

/// Counts the channels that are neither the definition's number nor its infinity.
template <class C>
int wrong_tokens(const one_token<C>& t) {
  const std::vector<C> o = t.run();
  int wrong = 0;
  for (std::size_t i = 0; i < o.size(); ++i) {
    const long double want = std::exp(static_cast<long double>(t.g[i])) * t.h[i] + t.b[i];
    const long double error = allowed(t.h[i], t.g[i], t.b[i]);
    if (std::fabs(want) > static_cast<long double>(limits<C>::most) + error) {
      wrong += o[i] != (want > 0 ? limits<C>::inf : -limits<C>::inf);
    } else if (std::fabs(want) < static_cast<long double>(limits<C>::most) - error) {
      wrong += !(std::fabs(want - o[i]) <= error);
    }
  }
  return wrong;
}

template <class C>
void check_largest() {
  numbers x;
  one_token<C> t;
  for (int i = 0; i < 4000; ++i) {
    const auto near_most = [&] {
      const long double u = x();
      return static_cast<C>((u < 0 ? u - 1 : u + 1) / 2 * limits<C>::most);
    };
    const C h = near_most();
    const auto g = static_cast<C>(0.6L * x() - 0.4L);
    t.add(h, g, near_most());
    t.add(h, g, C(0));
  }
  CHECK(wrong_tokens(t) == 0);
  // Growth up to the last power of two that a factor can be.
  one_token<C> growth;
  const long double top = std::log(static_cast<long double>(limits<C>::most));
  for (int i = 0; i < 4000; ++i) {
    const auto g = static_cast<C>(top - 2 - 2 * x());
    if (static_cast<long double>(g) < top) {
      growth.add(static_cast<C>(1e-20L * x()), g, C(1));
    }
  }
  CHECK(wrong_tokens(growth) == 0);
}

template <class C>
void check_smallest() {
  numbers x;
  one_token<C> t;
  const C least = limits<C>::min();
  for (int i = 0; i < 4000; ++i) {
    const auto h = static_cast<C>(2 * x() * least);
    t.add(h, static_cast<C>(x() - 1), static_cast<C>(x() * least));
    t.add(h, C(0), C(0));
    t.add(static_cast<C>(x()), std::log(least) + static_cast<C>(2 + x()), C(0));
  }
  CHECK(wrong_tokens(t) == 0);
  one_token<C> kept;
  for (int i = 0; i < 100; ++i) {
    kept.add(static_cast<C>(x()), C(0), C(0));
  }
  CHECK(kept.run() == kept.h);
}

template <class C>
void check_not_finite() {
  using bits = std::conditional_t<sizeof(C) == 4, std::uint32_t, std::uint64_t>;
  // Powers of two are made of an exponent's bits, which those of NaN must not pass for.
  one_token<C> nan;
  for (bits payload = 0; payload < 4096; ++payload) {
    const C g = std::bit_cast<C>(std::bit_cast<bits>(limits<C>::nan) | payload);
    for (const C h : {C(0), C(1), limits<C>::most, limits<C>::inf, -limits<C>::inf}) {
      nan.add(h, payload % 2 == 0 ? g : -g, C(1));
    }
  }
  int numbers_left = 0;
  for (const C o : nan.run()) {
    numbers_left += !std::isnan(o);
  }
  CHECK(numbers_left == 0);
  one_token<C> stays, over;
  for (const C h : {limits<C>::inf, -limits<C>::inf}) {
    for (const double g : {-80.0, -1.1, -0.5, -0.3, -1e-3, 0.0, 1e-3, 0.3, 5.0}) {
      stays.add(h, static_cast<C>(g), C(3));
    }
    over.add(h, -limits<C>::inf, C(3));
    over.add(h, -limits<C>::most, C(3));
    over.add(limits<C>::nan, -limits<C>::inf, C(3));
  }
  CHECK(stays.run() == stays.h);
  CHECK(over.run() == over.b);
}

}  // namespace

TEMPLATE_TEST_CASE("decays by their logarithms, of the largest numbers", "[elementwise_scan]",
                   float, double) {
  check_largest<TestType>();
}

TEMPLATE_TEST_CASE("decays by their logarithms, of the smallest numbers", "[elementwise_scan]",
                   float, double) {
  check_smallest<TestType>();
}

TEMPLATE_TEST_CASE("decays by their logarithms, of what is not finite", "[elementwise_scan]", float,
                   double) {
  check_not_finite<TestType>();
}

TEST_CASE("log_sum_exp of infinities, and of numbers far apart", "[elementwise_scan]") {
  constexpr float inf = limits<float>::inf;
  const std::vector<float> x{-inf, -inf, 0, -inf, -200, 100, -300, inf, inf, -inf, 5};
  std::vector<float> o(x.size());
  const auto T = static_cast<std::int64_t>(x.size());
  const auto scan = [&](const std::vector<float>& in) {
    seqmix::elementwise_scan(seqmix::view(in.data(), 1, T, 1), seqmix::view(o.data(), 1, T, 1),
                             {.monoid = seqmix::scan_monoid::log_sum_exp});
  };
  scan(x);
  CHECK(o == std::vector<float>{-inf, -inf, 0, 0, 0, 100, 100, inf, inf, inf, inf});
  std::vector<float> poisoned = x;
  poisoned[3] = limits<float>::nan;
  scan(poisoned);
  CHECK(o[2] == 0);
  for (std::size_t t = 3; t < x.size(); ++t) {
    CHECK(std::isnan(o[t]));
  }
}

TEST_CASE("a unit whose gate is shut keeps its state to the bit", "[elementwise_scan][named]") {
  constexpr std::int64_t D = 21;
  const std::vector<float> x(D, 3.0f), shut(D, -limits<float>::inf), lambda(D, 0.7f);
  std::vector<float> h(D), o(D);
  for (std::int64_t d = 0; d < D; ++d) {
    h[static_cast<std::size_t>(d)] = 0.1f * static_cast<float>(d) - 1.03f;
  }
  const auto row = [&](const std::vector<float>& v) { return seqmix::view(v.data(), 1, 1, D); };
  seqmix::rg_lru(row(x), row(x), row(shut), seqmix::view(lambda.data(), D),
                 seqmix::view(o.data(), 1, 1, D),
                 {.initial_state = seqmix::view(h.data(), 1, D, 1)});
  CHECK(o == h);
}
