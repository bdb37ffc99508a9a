// SPDX-License-Identifier: Apache-2.0
#include <seqmix/common/bidirectional.hpp>
#include <seqmix/ops/diagonal_ssm/diagonal_ssm.hpp>
#include <seqmix/ops/hgrn/hgrn.hpp>
#include <seqmix/ops/rwkv4/rwkv4.hpp>
#include <utility>

#include "scan_problem.hpp"
#include "support/errors.hpp"

using namespace seqmix_test;
using seqmix::elementwise_scan;
using seqmix::tensor_view;

namespace {

/// The sum of what `o` holds and the scan, by the definition.
std::vector<double> added_to(const std::vector<double>& held, const scan_problem& p) {
  std::vector<double> sum = expected_scan(p);
  for (std::size_t i = 0; i < held.size(); ++i) {
    sum[i] += held[i];
  }
  return sum;
}

/// The problem as its types have it.
template <class Operator>
void scan(const Operator& call, const scan_problem& p, const scan_options& options) {
  if (p.c.o_type == scalar_type::f64) {
    scan_with<double, double, double>(call, p, options);
  } else if (p.c.o_type == scalar_type::bf16) {
    scan_with<bf16, bf16, bf16>(call, p, options);
  } else {
    scan_with<float, float, float>(call, p, options);
  }
}

constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::misaligned};

}  // namespace

TEST_CASE("scans add to what there is, in every layout", "[elementwise_scan]") {
  for (const scanned monoid : {scanned::log, scanned::linear, scanned::complex,
                               scanned::log_sum_exp, scanned::max, scanned::sum}) {
    for (const scalar_type type : {scalar_type::f32, scalar_type::f64, scalar_type::bf16}) {
      for (const layout o : layouts) {
        scan_case c{.monoid = monoid, .B = 2, .T = 37, .D = 45, .final = true, .o = o};
        c.a_type = c.b_type = c.o_type = c.s_type = type;
        c.reverse = o == layout::padded;
        CAPTURE(c);
        scan_problem p(c);
        p.o.fill(99);
        const std::vector<double> expected = added_to(p.o.values(), p);
        scan_problem naive = p;
        scan_options options = p.options();
        options.accumulate = true;
        scan(elementwise_scan, p, options);
        CHECK(compare(results(p), expected, tolerance_of(type), bound::target, 1e-3) == "");
        CHECK(p.o.gaps_untouched());
        scan_options of_naive = naive.options();
        of_naive.accumulate = true;
        scan(oracle_of_scans{}, naive, of_naive);
        CHECK(compare(results(naive), expected, tolerance_of(type), bound::target, 1e-3) == "");
      }
    }
  }
}

TEST_CASE("scans add over contiguous time", "[elementwise_scan]") {
  constexpr std::int64_t T = 83;
  constexpr std::int64_t D = 21;
  std::vector<float> x(T * D), alone(T * D), o(T * D);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i % 7) - 3;
    o[i] = static_cast<float>(i % 5);
  }
  const std::vector<float> held = o;
  const auto over_time = []<class E>(E* data) {
    return tensor_view<E, 3>(data, {1, T, D}, {T * D, 1, T});
  };
  scan_options options{.monoid = scan_monoid::sum};
  elementwise_scan(over_time(std::as_const(x).data()), over_time(alone.data()), options);
  options.accumulate = true;
  elementwise_scan(over_time(std::as_const(x).data()), over_time(o.data()), options);
  bool right = true;  // whole numbers: the sums are exact
  for (std::size_t i = 0; i < x.size(); ++i) {
    right &= o[i] == held[i] + alone[i];
  }
  CHECK(right);
}

TEST_CASE("bidirectional scans are the sum of both directions", "[elementwise_scan]") {
  for (const scanned monoid : {scanned::log, scanned::linear, scanned::complex, scanned::sum}) {
    for (const bool packed : {false, true}) {
      scan_case c{.monoid = monoid, .B = 2, .T = 40, .D = 19, .packed = packed};
      CAPTURE(c);
      scan_problem p(c);
      c.reverse = true;
      const std::vector<double> expected = added_to(expected_scan(p), scan_problem(c));
      scan(seqmix::bidirectional(elementwise_scan), p, p.options());
      CHECK(compare(results(p), expected, tolerance_of(c.o_type), bound::target, 1e-3) == "");
    }
  }
  scan_case c{.T = 3, .D = 4, .final = true};
  const scan_problem p(c);
  const seqmix::error e =
      error_of([&] { scan(seqmix::bidirectional(elementwise_scan), p, p.options()); });
  CHECK(e.argument() == "options.final_state");
}

TEST_CASE("named scans run both ways, too", "[elementwise_scan]") {
  constexpr std::int64_t T = 50;
  constexpr std::int64_t D = 24;
  constexpr std::int64_t N = 3;
  tensor<3> x(scalar_type::f32, {1, T, D}), g = x, both = x, forward = x, reverse = x;
  tensor<3> a(scalar_type::f32, {D, N, 2}), b = a, c = a;
  tensor<1> w(scalar_type::f32, {D}), u = w;
  x.fill(1);
  g.fill(2);
  g.for_each([&](const tensor<3>::index& i) { g.set(i, -std::fabs(g[i])); });
  a.fill(3);
  a.for_each([&](const tensor<3>::index& i) { a.set(i, 0.7 * std::tanh(a[i])); });
  b.fill(4);
  c.fill(5);
  w.fill(6);
  w.for_each([&](const tensor<1>::index& i) { w.set(i, -std::fabs(w[i])); });
  u.fill(7);
  const auto check = [&](const auto& op, const auto&... in) {
    scan_options options;
    op(in.template view<const float>()..., forward.view<float>(), options);
    options.direction = scan_direction::reverse;
    op(in.template view<const float>()..., reverse.view<float>(), options);
    const seqmix::bidirectional two_ways{op};
    two_ways(in.template view<const float>()..., both.view<float>(), scan_options{});
    bool same = true;
    both.for_each([&](const tensor<3>::index& i) {
      same &= both[i] == static_cast<double>(static_cast<float>(forward[i] + reverse[i]));
    });
    CHECK(same);
  };
  check(seqmix::hgrn, x, g);
  check(seqmix::rwkv4, g, x, w, u);
  check(seqmix::diagonal_ssm, x, a, b, c);
}
