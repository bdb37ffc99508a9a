// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <limits>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"

using namespace seqmix_test;
using seqmix::softmax_attention_options;

namespace {

/// The results of one call on hand-written numbers.
struct results {
  std::vector<double> o, lse;
};

struct shape {
  std::int64_t B = 1, T = 1, S = 1, H = 1, HK = 1, D = 1, V = 1;
};

std::vector<algorithm> every_algorithm() {
  return target::algorithms(
      {algorithm::automatic, algorithm::tiled, algorithm::split_kv, algorithm::naive});
}

/// The first entries of the last axis get the numbers, the others are zero.
void put(tensor<4>& t, const std::vector<double>& numbers, std::int64_t width) {
  t.for_each([&](const tensor<4>::index& i) {
    const std::int64_t row = (i[0] * t.extent(1) + i[1]) * t.extent(2) + i[2];
    t.set(i, i[3] < width ? numbers[static_cast<std::size_t>(row * width + i[3])] : 0);
  });
}

/// One call. Head dimensions that the target has not are padded with zeros, of which nothing may
/// come but zeros.
results attend(const attention_calls& calls, const shape& n, const head_dims& dims,
               const std::vector<double>& q, const std::vector<double>& k,
               const std::vector<double>& v, const softmax_attention_options& options,
               algorithm how) {
  REQUIRE(q.size() == static_cast<std::size_t>(n.B * n.T * n.H * n.D));
  REQUIRE(k.size() == static_cast<std::size_t>(n.B * n.S * n.HK * n.D));
  REQUIRE(v.size() == static_cast<std::size_t>(n.B * n.S * n.HK * n.V));
  attention_case c{.B = n.B, .T = n.T, .S = n.S, .H = n.H, .HK = n.HK, .D = dims.D, .V = dims.V};
  c.causal = options.causal;
  c.window = options.window;
  c.sinks = options.sink_tokens;
  c.scale = options.scale;
  c.lse = target::on_gpu ? scalar_type::f32 : scalar_type::f64;
  c.types = calls.types;
  attention_problem p(c);
  put(p.q, q, n.D);
  put(p.k, k, n.D);
  put(p.v, v, n.V);
  calls.run(p, {.pin = pin_of(how)});
  results r{{}, p.lse.values()};
  bool zeros = true;
  p.o.for_each([&](const tensor<4>::index& i) {
    if (i[3] < n.V) {
      r.o.push_back(p.o[i]);
    } else {
      zeros &= p.o[i] == 0;
    }
  });
  if (!zeros) {
    FAIL_CHECK("zero values gave an output that is not zero");
  }
  return r;
}

std::vector<attention_calls> all_calls() { return target::calls<element_types<double>>(); }

void expect(const shape& n, const std::vector<double>& q, const std::vector<double>& k,
            const std::vector<double>& v, const softmax_attention_options& options,
            const std::vector<double>& o, const std::vector<double>& lse) {
  for (const attention_calls& calls : all_calls()) {
    for (const head_dims& dims : target::dims({n.D, n.V})) {
      for (const algorithm how : every_algorithm()) {
        CAPTURE(name(how), name(calls.types.q), dims.D);
        const results r = attend(calls, n, dims, q, k, v, options, how);
        CHECK(compare(r.o, o, output_tolerance({.types = calls.types}),
                      target::allowed(bound::target)) == "");
        const scalar_type sums = target::on_gpu ? scalar_type::f32 : scalar_type::f64;
        CHECK(compare(r.lse, lse, tolerance_of(sums), bound::target, 1.0) == "");
      }
    }
  }
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// With a zero query every visible key weighs the same: the output is the mean of the visible
/// values, and with value j = 2^j it names exactly the keys that were seen.
void expect_visible(std::int64_t T, std::int64_t S, const softmax_attention_options& options,
                    const std::vector<std::vector<int>>& visible) {
  std::vector<double> v;
  for (std::int64_t j = 0; j < S; ++j) {
    v.push_back(std::ldexp(1.0, static_cast<int>(j)));
  }
  std::vector<double> o;
  std::vector<double> lse;
  for (const std::vector<int>& keys : visible) {
    double sum = 0;
    for (const int j : keys) {
      sum += v[static_cast<std::size_t>(j)];
    }
    const auto count = static_cast<double>(keys.size());
    o.push_back(keys.empty() ? 0 : sum / count);
    lse.push_back(keys.empty() ? -infinity : std::log(count));
  }
  expect({.T = T, .S = S}, std::vector<double>(static_cast<std::size_t>(T), 0.0),
         std::vector<double>(static_cast<std::size_t>(S), 3.0), v, options, o, lse);
}

}  // namespace

TEST_CASE("one key gives its value", "[softmax_attention]") {
  expect({.D = 2, .V = 3}, {0.25, -2}, {5, 1}, {1.5, -2, 0.25}, {.scale = 0.5}, {1.5, -2, 0.25},
         {0.5 * (0.25 * 5 - 2)});
}

TEST_CASE("equal scores give the mean", "[softmax_attention]") {
  expect({.S = 4, .D = 2}, {1, 1}, {1, 2, 2, 1, 3, 0, 0, 3}, {1, 2, 4, 9}, {.scale = 1.0}, {4},
         {3 + std::log(4.0)});
}

TEST_CASE("two keys weigh as a sigmoid", "[softmax_attention]") {
  for (const double x : {0.0, 1.0, -2.5, 30.0}) {
    CAPTURE(x);
    const double w = sigmoid(x);
    expect({.S = 2, .V = 2}, {1}, {x, 0}, {1, 2, -3, 5}, {.scale = 1.0},
           {w - 3 * (1 - w), 2 * w + 5 * (1 - w)},
           {x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x))});
  }
}

TEST_CASE("the default scale is D^-0.5, and scale multiplies the logits", "[softmax_attention]") {
  const std::vector<double> q{1, 1, 1, 1};
  // q.k = 8 and 0. Not as a list of eight: g++ 12 fills 64 bytes of {2, 2, 2, 2, 0, 0, 0, 0} with
  // twos where it uses 512-bit stores.
  std::vector<double> k(4, 2.0);
  k.resize(8);
  for (const auto& [scale, logit] :
       {std::pair{1.0, 8.0}, std::pair{-0.25, -2.0}, std::pair{0.0, 0.0}}) {
    CAPTURE(logit);
    expect({.S = 2, .D = 4}, q, k, {1, 0}, {.scale = scale}, {sigmoid(logit)},
           {std::log(std::exp(logit) + 1)});
  }
  for (const attention_calls& calls : all_calls()) {
    for (const head_dims& dims : target::dims({4, 1})) {
      const double logit = 8 / std::sqrt(static_cast<double>(dims.D));
      for (const algorithm how : every_algorithm()) {
        CAPTURE(name(how), dims.D);
        const results r = attend(calls, {.S = 2, .D = 4}, dims, q, k, {1, 0}, {}, how);
        CHECK(compare(r.o, {sigmoid(logit)}, output_tolerance({.types = calls.types}),
                      target::allowed(bound::target)) == "");
        CHECK(compare(r.lse, {std::log(std::exp(logit) + 1)},
                      tolerance_of(target::on_gpu ? scalar_type::f32 : scalar_type::f64),
                      bound::target, 1.0) == "");
      }
    }
  }
}

TEST_CASE("causal masks are aligned bottom-right", "[softmax_attention]") {
  expect_visible(3, 3, {.causal = true}, {{0}, {0, 1}, {0, 1, 2}});
  expect_visible(2, 4, {.causal = true}, {{0, 1, 2}, {0, 1, 2, 3}});
  expect_visible(4, 2, {.causal = true}, {{}, {}, {0}, {0, 1}});
  expect_visible(1, 5, {.causal = true}, {{0, 1, 2, 3, 4}});
  expect_visible(3, 1, {.causal = true}, {{}, {}, {0}});
  expect_visible(2, 3, {}, {{0, 1, 2}, {0, 1, 2}});
}

TEST_CASE("windows", "[softmax_attention]") {
  expect_visible(4, 4, {.window = {.left = 1, .right = 0}}, {{0}, {0, 1}, {1, 2}, {2, 3}});
  expect_visible(4, 4, {.causal = true, .window = {.left = 1}}, {{0}, {0, 1}, {1, 2}, {2, 3}});
  expect_visible(4, 4, {.causal = true, .window = {.left = 1, .right = 2}},
                 {{0}, {0, 1}, {1, 2}, {2, 3}});
  expect_visible(3, 4, {.window = {.left = 0, .right = 1}}, {{1, 2}, {2, 3}, {3}});
  expect_visible(3, 4, {.window = {.left = 0}}, {{1, 2, 3}, {2, 3}, {3}});
  expect_visible(3, 4, {.window = {.right = 0}}, {{0, 1}, {0, 1, 2}, {0, 1, 2, 3}});
  expect_visible(3, 4, {.window = {.left = 0, .right = 0}}, {{1}, {2}, {3}});
  expect_visible(4, 2, {.window = {.left = 1, .right = 1}}, {{}, {0}, {0, 1}, {0, 1}});
  expect_visible(4, 2, {.window = {.left = 0, .right = 0}}, {{}, {}, {0}, {1}});
  // Bounds near the end of int64 mean no bound.
  constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();
  expect_visible(2, 3, {.window = {.left = far, .right = far}}, {{0, 1, 2}, {0, 1, 2}});
}

TEST_CASE("sink tokens outlast the window, not causality", "[softmax_attention]") {
  expect_visible(4, 5, {.causal = true, .window = {.left = 0}, .sink_tokens = 2},
                 {{0, 1}, {0, 1, 2}, {0, 1, 3}, {0, 1, 4}});
  expect_visible(3, 3, {.causal = true, .window = {.left = 0}, .sink_tokens = 2},
                 {{0}, {0, 1}, {0, 1, 2}});
  expect_visible(4, 4, {.causal = true, .window = {.left = 0}, .sink_tokens = 1},
                 {{0}, {0, 1}, {0, 2}, {0, 3}});
  expect_visible(3, 5, {.window = {.left = 0, .right = 0}, .sink_tokens = 1},
                 {{0, 2}, {0, 3}, {0, 4}});
  expect_visible(2, 3, {.sink_tokens = 2}, {{0, 1, 2}, {0, 1, 2}});
  expect_visible(2, 3, {.window = {.left = 0, .right = 0}, .sink_tokens = 100},
                 {{0, 1, 2}, {0, 1, 2}});
  expect_visible(4, 2, {.causal = true, .window = {.left = 0}, .sink_tokens = 1},
                 {{}, {}, {0}, {0, 1}});
}

TEST_CASE("a group of query heads reads one key-value head", "[softmax_attention]") {
  // Heads 0 and 1 read the first key-value head, 2 and 3 the second.
  const std::vector<double> q{1, 2, 1, 2};
  const std::vector<double> k{1, -1, 0, 0};  // [S = 2][HK = 2]
  const std::vector<double> v{1, 10, 0, 0};
  expect({.S = 2, .H = 4, .HK = 2}, q, k, v, {.scale = 1.0},
         {sigmoid(1), sigmoid(2), 10 * sigmoid(-1), 10 * sigmoid(-2)},
         {std::log(std::exp(1) + 1), std::log(std::exp(2) + 1), std::log(std::exp(-1) + 1),
          std::log(std::exp(-2) + 1)});
}

TEST_CASE("grouped heads equal repeated heads, bit for bit", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const head_dims& n : target::dims({16, 24})) {
      attention_case grouped{.B = 2,
                             .T = target::on_gpu ? 150 : 42,  // by default tiled in both
                             .S = 50,
                             .H = 6,
                             .HK = 2,
                             .D = n.D,
                             .V = n.V,
                             .causal = true,
                             .lse = scalar_type::f64};
      grouped.types = calls.types;
      attention_case repeated = grouped;
      repeated.HK = repeated.H;
      attention_problem a(grouped);
      attention_problem b(repeated);
      b.k.for_each(
          [&](const tensor<4>::index& i) { b.k.set(i, a.k[{i[0], i[1], i[2] / 3, i[3]}]); });
      b.v.for_each(
          [&](const tensor<4>::index& i) { b.v.set(i, a.v[{i[0], i[1], i[2] / 3, i[3]}]); });
      for (const algorithm how : every_algorithm()) {
        CAPTURE(name(how));
        run(calls, a, {.how = how});
        run(calls, b, {.how = how});
        CHECK(bits_of(a) == bits_of(b));
      }
    }
  }
}

#ifndef SEQMIX_TEST_CUDA  // what follows is about the CPU's implementations

TEST_CASE("the oracle as a function object", "[softmax_attention]") {
  attention_case c{.B = 2,
                   .T = 9,
                   .S = 14,
                   .H = 4,
                   .HK = 2,
                   .D = 6,
                   .V = 5,
                   .causal = true,
                   .lse = scalar_type::f64};
  c.types = types_of_all<double>();
  for (const call_form form :
       {call_form::batched, call_form::packed, call_form::cached, call_form::paged}) {
    c.form = form;
    CAPTURE(c);
    attention_problem p(c);
    with_views<double, double, double, double>(
        p, [](const auto&... a) { seqmix::naive_softmax_attention(a...); });
    CHECK(verify(p, attention_reference(p)) == "");
  }
}

TEST_CASE("what explain says is what runs", "[softmax_attention]") {
  attention_case few{.T = 4, .S = 100, .types = types_of_all<double>()};
  attention_case many{.T = 48, .S = 100, .types = types_of_all<double>()};
  attention_problem a(few);
  attention_problem b(many);
  const attention_calls calls = calls_for<double>();
  CHECK(calls.explain(a, {}).algorithm == "split_kv");
  CHECK(calls.explain(b, {}).algorithm == "tiled");
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    const auto report = calls.explain(b, {.pin = pin_of(how)});
    CHECK(report.algorithm == name(how));
    CHECK(report.implementation == (how == algorithm::naive ? "naive" : "flash"));
    // The report's scratch is what the call takes.
    CHECK(report.workspace_bytes == calls.workspace_bytes(b, {.pin = pin_of(how)}));
  }
}

#endif
