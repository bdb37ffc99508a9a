// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/cross_scan2d/cross_scan2d.hpp>
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <seqmix/ops/token_shift/token_shift.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/pool.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::cross_merge2d;
using seqmix::cross_scan2d;
using seqmix::tensor_view;

namespace {

constexpr std::int64_t B = 2, Y = 5, X = 9, D = 21;
constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::misaligned};

/// Place t of sequence i of a map.
std::array<std::int64_t, 2> place(int i, std::int64_t t) {
  const std::int64_t at = i < 2 ? t : Y * X - 1 - t;
  return i % 2 == 0 ? std::array<std::int64_t, 2>{at / X, at % X}
                    : std::array<std::int64_t, 2>{at % Y, at / Y};
}

}  // namespace

TEST_CASE("the four sequences of a map hold its tokens in their orders", "[cross_scan2d]") {
  for (const layout kind : layouts) {
    tensor<4> x(scalar_type::f32, {B, Y, X, D}, kind);
    x.fill(1);
    const auto sequences = cross_scan2d(x.view<const float>());
    for (int i = 0; i < 4; ++i) {
      const auto& s = sequences[static_cast<std::size_t>(i)];
      REQUIRE(s.size() == x.size());
      bool right = true;
      for (std::int64_t t = 0; t < Y * X; ++t) {
        const auto [y, column] = place(i, t);
        const std::int64_t inner = s.extent(2);
        right &= static_cast<double>(s(1, t / inner, t % inner, 7)) == x[{1, y, column, 7}];
      }
      CHECK(right);
    }
  }
}

TEST_CASE("merged, the sequences of a map are four times the map", "[cross_scan2d][threads]") {
  for (const layout kind : layouts) {
    for (const layout to : layouts) {
      tensor<4> x(scalar_type::f32, {B, Y, X, D}, kind), o(scalar_type::f32, {B, Y, X, D}, to);
      x.fill(1);
      const auto s = cross_scan2d(x.view<const float>());
      for (const int threads : {1, 3}) {
        o.clear();
        pool_executor pool(threads);
        cross_merge2d(s[0], s[1], s[2], s[3], o.view<float>(), {}, {.executor = pool});
        bool right = true;
        o.for_each([&](const tensor<4>::index& i) { right &= o[i] == 4 * x[i]; });
        CHECK(right);
        CHECK(o.gaps_untouched());
      }
    }
  }
}

TEST_CASE("merges of other tensors equal their oracle, NaN stays at its place", "[cross_scan2d]") {
  tensor<4> rows(scalar_type::f32, {B, Y, X, D}), columns(scalar_type::f32, {B, X, Y, D}),
      back(scalar_type::f16, {B, Y, X, D}, layout::padded),
      columns_back(scalar_type::f32, {B, X, Y, D}, layout::strided),
      o(scalar_type::bf16, {B, Y, X, D}), naive = o;
  rows.fill(1);
  columns.fill(2);
  back.fill(3);
  columns_back.fill(4);
  back.set({1, 1, 2, 3}, std::numeric_limits<double>::quiet_NaN());
  const auto call = [&](const auto& f, tensor<4>& to) {
    f(rows.view<const float>(), columns.view<const float>(), back.view<const seqmix::f16>(),
      columns_back.view<const float>(), to.view<seqmix::bf16>());
  };
  call(cross_merge2d, o);
  call(seqmix::naive_cross_merge2d, naive);
  std::vector<double> expected;
  o.for_each([&](const tensor<4>::index& i) {
    expected.push_back(rows[i] + columns[{i[0], i[2], i[1], i[3]}] +
                       back[{i[0], Y - 1 - i[1], X - 1 - i[2], i[3]}] +
                       columns_back[{i[0], X - 1 - i[2], Y - 1 - i[1], i[3]}]);
  });
  CHECK(compare(o.values(), expected, tolerance_of(scalar_type::bf16)) == "");
  CHECK(compare(naive.values(), expected, tolerance_of(scalar_type::bf16)) == "");
  CHECK(std::isnan(o[{1, Y - 2, X - 3, 3}]));
}

TEST_CASE("scans run on the sequences of maps, and along their channels", "[cross_scan2d]") {
  tensor<4> a(scalar_type::f32, {B, Y, X, D}, layout::padded), x = a, o = a;
  a.fill(1);
  x.fill(2);
  a.for_each([&](const tensor<4>::index& i) { a.set(i, std::tanh(a[i])); });
  std::vector<tensor<4>> h(4, o);
  const auto factors = cross_scan2d(a.view<const float>()),
             in = cross_scan2d(x.view<const float>());
  const auto result = [&](std::size_t i) { return cross_scan2d(h[i].view<float>())[i]; };
  for (std::size_t i = 0; i < 4; ++i) {
    seqmix::elementwise_scan(seqmix::linear_gate(factors[i]), in[i], result(i));
  }
  cross_merge2d(result(0), result(1), result(2), result(3), o.view<float>());
  tensor<4> expected(scalar_type::f64, {B, Y, X, D});
  expected.for_each([&](const tensor<4>::index& i) { expected.set(i, 0); });
  for (int i = 0; i < 4; ++i) {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t d = 0; d < D; ++d) {
        double state = 0;
        for (std::int64_t t = 0; t < Y * X; ++t) {
          const auto [y, column] = place(i, t);
          const tensor<4>::index at{b, y, column, d};
          state = a[at] * state + x[at];
          expected.set(at, expected[at] + state);
        }
      }
    }
  }
  CHECK(compare(o.values(), expected.values(), tolerance_of(scalar_type::f32)) == "");

  tensor<3> flat(scalar_type::f32, {B, Y * X, D}), sums = flat;
  flat.fill(3);
  seqmix::elementwise_scan(flat.view<const float>().permuted<0, 2, 1>(),
                           sums.view<float>().permuted<0, 2, 1>(),
                           {.monoid = seqmix::scan_monoid::sum});
  std::vector<double> along;
  flat.for_each([&](const tensor<3>::index& i) {
    double sum = 0;
    for (std::int64_t d = 0; d <= i[2]; ++d) {
      sum += flat[{i[0], i[1], d}];
    }
    along.push_back(sum);
  });
  CHECK(compare(sums.values(), along, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("tokens are mixed with the one before, over cuts and packed borders", "[token_shift]") {
  for (const layout kind : layouts) {
    constexpr std::int64_t T = 30;
    tensor<3> x(scalar_type::f32, {1, T, D}, kind), o = x, naive = x, parts = x;
    tensor<1> mu(scalar_type::f32, {D}, layout::strided);
    tensor<3> state(scalar_type::f32, {3, D, 1}, layout::padded);
    x.fill(1);
    mu.fill(2);
    state.fill(3);
    const tensor<3> before = state;
    const tensor<1> starts = index_tensor({0, 11, 11, 30}, true);
    seqmix::scan_options options{.initial_state = before.view<const float>(),
                                 .varlen = {.offsets = index_view(starts)}};
    seqmix::token_shift(x.packed_view<const float>(), mu.view<const float>(),
                        o.packed_view<float>(), options);
    seqmix::naive_token_shift(x.packed_view<const float>(), mu.view<const float>(),
                              naive.packed_view<float>(), options);
    std::vector<double> expected;
    x.for_each([&](const tensor<3>::index& i) {
      const double previous = i[1] == 0    ? before[{0, i[2], 0}]
                              : i[1] == 11 ? before[{2, i[2], 0}]
                                           : x[{0, i[1] - 1, i[2]}];
      expected.push_back(x[i] + mu[{i[2]}] * (previous - x[i]));
    });
    CHECK(compare(o.values(), expected, tolerance_of(scalar_type::f32)) == "");
    CHECK(compare(naive.values(), expected, tolerance_of(scalar_type::f32)) == "");
    CHECK(o.gaps_untouched());
    // Token by token, the state in place.
    for (std::int64_t t = 0; t < T; ++t) {
      const auto entry = state.view<float>().slice(0, t < 11 ? 0 : 2, 1);
      seqmix::token_shift(x.view<const float>().slice(1, t, 1), mu.view<const float>(),
                          parts.view<float>().slice(1, t, 1),
                          {.initial_state = entry, .final_state = entry});
    }
    CHECK(parts.all_bits() == o.all_bits());
    CHECK(state[{0, 4, 0}] == x[{0, 10, 4}]);
    CHECK(state.bits({1, 4, 0}) == before.bits({1, 4, 0}));
  }
}

TEST_CASE("merges and shifts refuse what does not fit", "[cross_scan2d][token_shift][errors]") {
  std::vector<float> in(B * Y * X * D, 1), out(in.size(), -7), few(D, 1);
  const auto map = seqmix::view(in.data(), B, Y, X, D);
  const auto o = seqmix::view(out.data(), B, Y, X, D);
  const auto turned = seqmix::view(in.data(), B, X, Y, D);
  const auto state = seqmix::view(few.data(), 1, D, 1);
  const auto merge = [&](const auto& rows, const auto& to, const seqmix::scan_options& options) {
    return error_of([&] { cross_merge2d(rows, turned, map, turned, to, options); });
  };
  check_error(merge(turned, o, {}), "cross_merge2d", "rows", "[B, T1, T2, H, D]",
              "[2, 1, 5, 9, 21]");
  check_error(merge(map, map, {}), "cross_merge2d", "o", "memory apart from", "overlapping");
  check_error(merge(map, o, {.final_state = state}), "cross_merge2d", "options.final_state",
              "no value", "a value");
  check_error(merge(map, o, {.direction = seqmix::scan_direction::reverse}), "cross_merge2d",
              "options.direction", "no value", "a value");
  check_error(merge(map, o, {.tied = false}), "cross_merge2d", "options.tied", "of hgrn only",
              "a value");
  check_error(error_of([&] {
                seqmix::token_shift(seqmix::view(in.data(), 1, 9, 7), seqmix::view(few.data(), D),
                                    seqmix::view(out.data(), 1, 9, 7));
              }),
              "token_shift", "mu", "[D, N, 1] = [7, 1, 1]", "[21, 1, 1]");
  CHECK(out == std::vector<float>(out.size(), -7));
}
