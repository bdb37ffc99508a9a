// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <seqmix/ops/rope/rope.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::rope_axes;
using seqmix::rope_layout;
using seqmix::rope_options;

namespace {

constexpr rope_layout both_layouts[] = {rope_layout::interleaved, rope_layout::half_split};

template <class T>
std::vector<T> random_values(std::int64_t size, std::uint64_t seed) {
  std::vector<T> r;
  for (std::int64_t i = 0; i < size; ++i) {
    r.push_back(static_cast<T>(normal(seed * 100000 + static_cast<std::uint64_t>(i))));
  }
  return r;
}

std::vector<std::int64_t> random_places(std::int64_t size, std::uint64_t seed) {
  std::vector<std::int64_t> r;
  for (std::int64_t i = 0; i < size; ++i) {
    const std::uint64_t bits = mix(seed * 100000 + static_cast<std::uint64_t>(i));
    r.push_back(static_cast<std::int64_t>(bits % 2001) - 1000);
  }
  return r;
}

/// One sequence of T tokens with H heads.
template <class T>
struct sequence {
  std::int64_t tokens, heads, channels;
  std::vector<T> x;

  sequence(std::int64_t t, std::int64_t h, std::int64_t d, std::uint64_t seed)
      : tokens(t), heads(h), channels(d), x(random_values<T>(t * h * d, seed)) {}

  /// Channels [begin, end) after rope.
  std::vector<T> turned(const rope_options& options, std::int64_t begin, std::int64_t end) const {
    std::vector<T> o(x.size());
    const auto in = seqmix::view(x.data(), 1, tokens, heads, channels);
    const auto out = seqmix::view(o.data(), 1, tokens, heads, channels);
    seqmix::rope(in.slice(3, begin, end - begin), out.slice(3, begin, end - begin), options);
    return o;
  }
  std::vector<T> turned(const rope_options& options) const { return turned(options, 0, channels); }
};

double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

}  // namespace

TEST_CASE("hand cases of rope with two positions", "[rope]") {
  const double x[] = {1, 2, 3, 4, 5};
  double o[5] = {};
  const auto in = seqmix::view(x, 1, 1, 1, 5);
  const auto out = seqmix::view(o, 1, 1, 1, 5);
  const std::int32_t seven = 7;
  const std::int64_t three = 3;
  const double c7 = std::cos(7.0), s7 = std::sin(7.0);
  const double c3 = std::cos(3.0), s3 = std::sin(3.0);
  for (const rope_layout pairs : both_layouts) {
    // A half of two channels is one pair under either layout, and pair 0 turns by the position
    // whatever the base.
    const rope_options split{.layout = pairs,
                             .rotary_dims = 4,
                             .positions = seqmix::view(&seven, 1, 1),
                             .axes = rope_axes::split,
                             .second_positions = seqmix::view(&three, 1, 1)};
    seqmix::rope(in, out, split);
    CHECK(compare({o, o + 5}, {c7 - 2 * s7, 2 * c7 + s7, 3 * c3 - 4 * s3, 4 * c3 + 3 * s3, 5},
                  tolerance_of(scalar_type::f64)) == "");
  }
  // Pair 0 turns by 7 + 3, pair 1 by 7 / 10 + 3 / 100.
  const double c0 = std::cos(10.0), s0 = std::sin(10.0);
  const double c1 = std::cos(0.73), s1 = std::sin(0.73);
  rope_options sum{.layout = rope_layout::interleaved,
                   .base = 100,
                   .rotary_dims = 4,
                   .positions = seqmix::view(&seven, 1, 1),
                   .axes = rope_axes::sum,
                   .second_positions = seqmix::view(&three, 1, 1),
                   .second_base = 10000};
  seqmix::rope(in, out, sum);
  CHECK(compare({o, o + 5}, {c0 - 2 * s0, 2 * c0 + s0, 3 * c1 - 4 * s1, 4 * c1 + 3 * s1, 5},
                tolerance_of(scalar_type::f64)) == "");
  sum.layout = rope_layout::half_split;
  seqmix::rope(in, out, sum);
  CHECK(compare({o, o + 5}, {c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + s0, 4 * c1 + 2 * s1, 5},
                tolerance_of(scalar_type::f64)) == "");
}

TEST_CASE("each half of 2-D rope is a 1-D rope", "[rope]") {
  constexpr std::int64_t T = 19, H = 3;
  for (const rope_layout pairs : both_layouts) {
    for (const std::int64_t dims : {4, 8, 60, 64, 128}) {
      CAPTURE(dims);
      const sequence<float> s(T, H, dims, 1);
      const auto y = random_places(T, 2);
      const auto x = random_places(T, 3);
      const std::vector<std::int64_t> zero(T, 0);
      const auto ys = seqmix::view(y.data(), 1, T);
      const auto xs = seqmix::view(x.data(), 1, T);
      rope_options options{.layout = pairs,
                           .positions = ys,
                           .position_offset = 5,
                           .axes = rope_axes::split,
                           .second_positions = xs,
                           .second_base = 300};
      const std::vector<float> both = s.turned(options);
      const std::vector<float> first =
          s.turned({.layout = pairs, .positions = ys, .position_offset = 5}, 0, dims / 2);
      const std::vector<float> second =
          s.turned({.layout = pairs, .base = 300, .positions = xs}, dims / 2, dims);
      options.second_positions = seqmix::view(zero.data(), 1, T);
      const std::vector<float> first_alone = s.turned(options);
      bool same = true, same_alone = true;
      for (std::size_t i = 0; i < both.size(); ++i) {
        const bool in_first = static_cast<std::int64_t>(i) % dims < dims / 2;
        same &= both[i] == (in_first ? first[i] : second[i]);
        same_alone &= first_alone[i] == (in_first ? first[i] : s.x[i]);
      }
      CHECK(same);
      CHECK(same_alone);
    }
  }
}

TEST_CASE("dual-index rope with a position at 0 is 1-D rope with the other", "[rope]") {
  constexpr std::int64_t T = 19, H = 3, D = 76;
  const sequence<float> s(T, H, D, 1);
  const auto y = random_places(T, 2);
  const std::vector<std::int64_t> zero(T, 0);
  const auto ys = seqmix::view(y.data(), 1, T);
  const auto zeros = seqmix::view(zero.data(), 1, T);
  for (const rope_layout pairs : both_layouts) {
    const std::vector<float> first = s.turned({.layout = pairs, .positions = ys});
    CHECK(first == s.turned({.layout = pairs,
                             .positions = ys,
                             .axes = rope_axes::sum,
                             .second_positions = zeros,
                             .second_base = 300}));
    CHECK(first == s.turned({.layout = pairs,
                             .base = 300,
                             .positions = zeros,
                             .axes = rope_axes::sum,
                             .second_positions = ys,
                             .second_base = 10000}));
    // Without first positions these are the token's index plus the offset.
    CHECK(s.turned({.layout = pairs, .position_offset = 4}) ==
          s.turned({.layout = pairs,
                    .position_offset = 4,
                    .axes = rope_axes::sum,
                    .second_positions = zeros}));
  }
}

TEST_CASE("with two positions, negative ones undo positive ones", "[rope]") {
  constexpr std::int64_t T = 20, H = 3, D = 60;
  for (const rope_axes axes : {rope_axes::split, rope_axes::sum}) {
    for (const rope_layout pairs : both_layouts) {
      const sequence<double> s(T, H, D, 1);
      auto y = random_places(T, 2);
      auto x = random_places(T, 3);
      const rope_options options{.layout = pairs,
                                 .rotary_dims = 40,
                                 .positions = seqmix::view(y.data(), 1, T),
                                 .axes = axes,
                                 .second_positions = seqmix::view(x.data(), 1, T),
                                 .second_base = 300};
      sequence<double> there = s;
      there.x = s.turned(options);
      for (std::int64_t t = 0; t < T; ++t) {
        y[static_cast<std::size_t>(t)] *= -1;
        x[static_cast<std::size_t>(t)] *= -1;
      }
      CHECK(compare(there.turned(options), s.x, tolerance_of(scalar_type::f64)) == "");
      CHECK(compare(there.x, s.x, tolerance_of(scalar_type::f64)) != "");
    }
  }
}

TEST_CASE("with two positions, a product depends on both distances only", "[rope]") {
  constexpr std::int64_t D = 64;
  const sequence<double> q(1, 1, D, 1);
  const sequence<double> k(1, 1, D, 2);
  for (const rope_axes axes : {rope_axes::split, rope_axes::sum}) {
    for (const rope_layout pairs : both_layouts) {
      const auto at = [&](const sequence<double>& s, std::int64_t first, std::int64_t second) {
        return s.turned({.layout = pairs,
                         .positions = seqmix::view(&first, 1, 1),
                         .axes = axes,
                         .second_positions = seqmix::view(&second, 1, 1),
                         .second_base = 300});
      };
      for (const std::int64_t down : {0, 3, -40}) {
        for (const std::int64_t right : {0, -2, 500}) {
          const double expected = product(at(q, down, right), at(k, 0, 0));
          for (const std::int64_t shift : {1, 17, -4096}) {
            CAPTURE(down, right, shift);
            const double moved =
                product(at(q, down + shift, right - 2 * shift), at(k, shift, -2 * shift));
            CHECK(std::fabs(moved - expected) < 1e-10);
          }
        }
      }
      // Both distances do matter.
      const double still = product(at(q, 0, 0), at(k, 0, 0));
      CHECK(std::fabs(product(at(q, 1, 0), at(k, 0, 0)) - still) > 1e-3);
      CHECK(std::fabs(product(at(q, 0, 1), at(k, 0, 0)) - still) > 1e-3);
    }
  }
}
