// SPDX-License-Identifier: Apache-2.0
// Weights by other rules than one-pass softmax: every rule, every number of passes, log n_i.
#include <cmath>
#include <limits>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <seqmix/ops/softmax_attention/named_attention.hpp>
#include <vector>

#include "support/attention_matrix.hpp"

using namespace seqmix_test;
using rule = seqmix::attention_weights;

namespace {

struct named_rule {
  seqmix::attention_normaliser how;
  bool log_length;
  bool has_lse;
};

constexpr named_rule rules[] = {
    {{.weights = rule::softmax}, true, true},
    {{.weights = rule::sigmoid, .shift = -3}, false, false},
    {{.weights = rule::softplus}, false, true},
    {{.weights = rule::softplus}, true, true},
    {{.weights = rule::softplus, .sharpen = 3}, true, false},
    {{.weights = rule::softplus, .sharpen = 15}, false, false},
    {{.weights = rule::relu}, false, false},
    {{.weights = rule::relu, .mean = true}, true, false},
    {{.weights = rule::none}, false, false},
    {{.weights = rule::none, .mean = true}, false, false},
};

void set_rule(attention_case& c, const named_rule& r) {
  c.normaliser = r.how;
  c.log_length = r.log_length;
  c.sink_logits = c.sink_logits && r.how.weights == rule::softmax;
  c.lse = r.has_lse ? c.lse : scalar_type::none;
}

/// Comes last among the factors: what does not go with the rule is left out.
constexpr sweep_factor rule_factor{
    static_cast<int>(std::size(rules)),
    [](attention_case& c, execution&, int i) { set_rule(c, rules[i]); }};

/// Every pair of levels of the call's axes and the rules, under every algorithm that takes it.
void check_rules(const attention_calls& calls) {
  using namespace factors;
  const std::vector<sweep_factor> all{
      T,         S,        D,           V,     heads, causal, window,     sinks,   scale,
      lse,       any_form, batch,       q,     k,     v,      o,          threads, shuffle,
      workspace, softcap,  sink_logits, alibi, bias,  page,   rule_factor};
  matrix_sweep m{calls};
  m.sweep(all, pairwise_plan(level_counts(all), 3));
  m.finish("softmax_attention, other weights");
  CHECK(m.cases >= 121);
}

/// One head, one call: weights of keys whose values are unit vectors are the output itself.
struct small_call {
  std::int64_t T, S, D;
  std::vector<float> q, k, v, o, lse;

  small_call(std::int64_t queries, std::int64_t keys, std::int64_t dim)
      : T(queries),
        S(keys),
        D(dim),
        q(static_cast<std::size_t>(T * D)),
        k(static_cast<std::size_t>(S * D)),
        v(static_cast<std::size_t>(S * S)),
        o(static_cast<std::size_t>(T * S), -7),
        lse(static_cast<std::size_t>(T), -7) {
    for (std::int64_t j = 0; j < S; ++j) {
      v[static_cast<std::size_t>(j * S + j)] = 1;
    }
  }

  auto queries() { return seqmix::view(q.data(), 1, T, 1, D); }
  auto keys() { return seqmix::view(k.data(), 1, S, 1, D); }
  auto values() { return seqmix::view(v.data(), 1, S, 1, S); }
  auto out() { return seqmix::view(o.data(), 1, T, 1, S); }
  auto sums() { return seqmix::view(lse.data(), 1, 1, T); }
  double weight(std::int64_t i, std::int64_t j) const {
    return o[static_cast<std::size_t>(i * S + j)];
  }
};

std::string refusal(small_call& c, const seqmix::softmax_attention_options& options) {
  try {
    seqmix::softmax_attention(c.queries(), c.keys(), c.values(), c.out(), options);
  } catch (const seqmix::error& e) {
    return e.argument();
  }
  return {};
}

}  // namespace

TEST_CASE("every rule for weights with every option", "[softmax_attention][matrix][threads]") {
  check_rules(calls_for<float>());
  check_rules(calls_for<double>());
}

TEST_CASE("sigmoid weights: one visible key weighs sg(s), not 1", "[softmax_attention][N01]") {
  small_call c(1, 1, 1);
  c.q = {2};
  c.k = {0.75F};
  const double score = 2 * 0.75 - 3;
  seqmix::sigmoid_attention(c.queries(), c.keys(), c.values(), c.out(),
                            {.scale = 1, .normaliser = {.shift = -3}});
  CHECK(std::fabs(c.weight(0, 0) - 1 / (1 + std::exp(-score))) < 1e-6);
}

TEST_CASE("sigmoid weights: parts over disjoint keys add up", "[softmax_attention][N01]") {
  const attention_calls calls = calls_for<float>();
  attention_case c{.T = 9, .S = 150, .H = 2, .HK = 1, .D = 16, .V = 16};
  c.normaliser = {.weights = rule::sigmoid, .shift = -4};
  attention_problem whole(c);
  REQUIRE(run(calls, whole, {}).empty());
  std::vector<double> sum(static_cast<std::size_t>(whole.o.size()), 0.0);
  const auto q = whole.q.view<const float>();
  for (const auto& [begin, count] : {std::pair{0, 40}, std::pair{40, 110}}) {
    std::vector<float> part(sum.size());
    seqmix::softmax_attention(q, whole.k.view<const float>().slice(1, begin, count),
                              whole.v.view<const float>().slice(1, begin, count),
                              seqmix::view(part.data(), 1, 9, 2, 16), whole.options());
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] += part[i];
    }
  }
  CHECK(compare(whole.o.values(), sum, tolerance_of(scalar_type::f32)).empty());
}

TEST_CASE("softplus: row 0 of a causal call has log 1 = 0 as its scale",
          "[softmax_attention][N02]") {
  small_call c(3, 3, 2);
  c.q = {1, 2, 3, -1, 0.5F, 2};
  c.k = {2, 1, 1, -3, 0.25F, 1};
  seqmix::softplus_attention(c.queries(), c.keys(), c.values(), c.out(),
                             {.causal = true, .lse = c.sums()});
  CHECK(c.weight(0, 0) == 1);
  CHECK(std::fabs(c.lse[0] - std::log(std::log(2.0))) < 1e-6);  // softplus(0) = log 2
  // Row 1 by hand: scale log 2 from D, times log 2 from n.
  const double unit = std::log(2.0) * std::log(2.0);
  const auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  const double a0 = softplus(unit * (3 * 2 - 1 * 1));
  const double a1 = softplus(unit * (3 * 1 + 1 * 3));
  CHECK(std::fabs(c.weight(1, 0) - a0 / (a0 + a1)) < 1e-6);
  CHECK(std::fabs(c.weight(1, 1) - a1 / (a0 + a1)) < 1e-6);
  CHECK(c.weight(1, 2) == 0);
}

TEST_CASE("re-weighted softplus: rows without an edge stay as they are",
          "[softmax_attention][N02]") {
  // Equal keys: every n a is 1, which the first three places do not subtract.
  small_call c(6, 6, 2);
  c.q.assign(12, 0.5F);
  c.k.assign(12, 0.25F);
  seqmix::softplus_attention(c.queries(), c.keys(), c.values(), c.out(),
                             {.causal = true, .normaliser = {.sharpen = 15}});
  for (std::int64_t i = 0; i < 6; ++i) {
    for (std::int64_t j = 0; j < 6; ++j) {
      CHECK(std::fabs(c.weight(i, j) - (j <= i ? 1.0 / static_cast<double>(i + 1) : 0)) < 1e-6);
    }
  }
}

TEST_CASE("re-weighted softplus: by hand, before and after the third place",
          "[softmax_attention][N02]") {
  small_call c(4, 4, 1);
  c.q = {1, 1, 1, 1};
  c.k = {0, 1, 2, 3};
  seqmix::softmax_attention(
      c.queries(), c.keys(), c.values(), c.out(),
      {.scale = 1, .causal = true, .normaliser = {.weights = rule::softplus, .sharpen = 2}});
  for (std::int64_t i = 0; i < 4; ++i) {
    std::vector<double> r;
    double sum = 0;
    for (std::int64_t j = 0; j <= i; ++j) {
      sum += std::log1p(std::exp(static_cast<double>(j)));
    }
    double total = 0;
    for (std::int64_t j = 0; j <= i; ++j) {
      const double a = std::log1p(std::exp(static_cast<double>(j))) / sum;
      const double edge = static_cast<double>(i + 1) * a - (i < 3 ? 0 : 1);
      r.push_back(edge < 0 ? 0 : edge * edge);
      total += r.back();
    }
    for (std::int64_t j = 0; j <= i; ++j) {
      CHECK(std::fabs(c.weight(i, j) - r[static_cast<std::size_t>(j)] / total) < 1e-5);
    }
  }
}

TEST_CASE("ReLU and none: signs, means, and a row that sees nothing", "[softmax_attention]") {
  small_call c(3, 2, 1);
  c.q = {5, -1, 2};
  c.k = {3, -4};
  // T > S: the first row sees nothing.
  seqmix::relu_attention(c.queries(), c.keys(), c.values(), c.out(),
                         {.scale = 1, .causal = true, .normaliser = {.mean = true}});
  CHECK(c.o == std::vector<float>{0, 0, 0, 0, 3, 0});
  seqmix::softmax_attention(c.queries(), c.keys(), c.values(), c.out(),
                            {.scale = 1, .causal = true, .normaliser = {.weights = rule::none}});
  CHECK(c.o == std::vector<float>{0, 0, -3, 0, 6, -8});
}

TEST_CASE("n_i counts what a mask functor leaves", "[softmax_attention]") {
  small_call c(40, 70, 8);
  for (std::size_t i = 0; i < c.q.size(); ++i) {
    c.q[i] = static_cast<float>(normal(1000 + i));
  }
  for (std::size_t i = 0; i < c.k.size(); ++i) {
    c.k[i] = static_cast<float>(normal(2000 + i));
  }
  const seqmix::chunk_mask mask{.size = 16, .left = 1};
  for (const named_rule& r : rules) {
    const seqmix::softmax_attention_options options{
        .window = {.left = 50}, .normaliser = r.how, .log_length = r.log_length};
    seqmix::naive_softmax_attention(c.queries(), c.keys(), c.values(), c.out(), mask, options);
    const std::vector<double> expected(c.o.begin(), c.o.end());
    const double growth =
        output_tolerance({.normaliser = r.how}).target / output_tolerance({}).target;
    for (const char* how : {"tiled", "split_kv", "two_pass", "three_pass"}) {
      for (const std::int64_t rows : {std::int64_t{40}, std::int64_t{3}}) {
        const seqmix::context ctx{.pin = {.algorithm = how}};
        // The last rows alone see what they saw among the others.
        const auto q = c.queries().slice(1, 40 - rows, rows);
        std::vector<float> o(static_cast<std::size_t>(rows * c.S));
        const auto out = seqmix::view(o.data(), 1, rows, 1, c.S);
        if (seqmix::softmax_attention.explain(q, c.keys(), c.values(), out, mask, options, ctx)
                .implementation.empty()) {
          continue;
        }
        seqmix::softmax_attention(q, c.keys(), c.values(), out, mask, options, ctx);
        const std::vector<double> tail(expected.end() - rows * c.S, expected.end());
        CAPTURE(static_cast<int>(r.how.weights), r.how.sharpen, how, rows);
        CHECK(compare({o.begin(), o.end()}, tail,
                      {5e-6 * growth, 2e-6 * growth, 0, 2e-5 * growth}) == "");
      }
    }
  }
}

TEST_CASE("what a row does not see has no weight, whatever it holds", "[softmax_attention]") {
  constexpr float poison[] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
  const attention_calls calls = calls_for<float>();
  for (const named_rule& r : rules) {
    attention_case c{.T = 70, .S = 70, .H = 2, .HK = 1, .D = 16, .V = 24, .causal = true};
    set_rule(c, r);
    attention_problem p(c);
    for (const algorithm how : every_algorithm) {
      if (!can_run(p, how) || how == algorithm::split_kv) {
        continue;
      }
      REQUIRE(run(calls, p, {.how = how}).empty());
      const output_bits clean = bits_of(p);
      for (const float x : poison) {
        attention_problem dirty(c);
        for (std::int64_t j : {std::int64_t{33}, std::int64_t{69}}) {
          for (std::int64_t d = 0; d < c.D; ++d) {
            dirty.k.set({0, j, 0, d}, static_cast<double>(x));
          }
          dirty.v.set({0, j, 0, 5}, static_cast<double>(x));
        }
        REQUIRE(run(calls, dirty, {.how = how}).empty());
        CAPTURE(static_cast<int>(r.how.weights), r.how.sharpen, name(how), x);
        // Rows before key 33 have their bits; the last row sees both.
        bool same = true;
        bool reached = false;
        for (std::int64_t i = 0; i < 33; ++i) {
          for (std::int64_t h = 0; h < 2; ++h) {
            for (std::int64_t e = 0; e < c.V; ++e) {
              same = same && dirty.o.bits({0, i, h, e}) == p.o.bits({0, i, h, e});
            }
          }
        }
        for (std::int64_t e = 0; e < c.V; ++e) {
          reached = reached || !std::isfinite(dirty.o[{0, 69, 0, e}]);
        }
        CHECK(same);
        CHECK(reached);
      }
    }
  }
}

TEST_CASE("rules and passes: the same bits with any executor, alone or in a batch",
          "[softmax_attention][determinism][threads]") {
  const attention_calls calls = calls_for<float>();
  for (const named_rule& r : rules) {
    for (const call_form form : {call_form::batched, call_form::packed}) {
      attention_case c{.B = 3, .T = 90, .S = 130, .H = 4, .HK = 2, .D = 16, .V = 16};
      c.causal = true;
      c.form = form;
      c.lse = scalar_type::f32;
      set_rule(c, r);
      for (const algorithm how : every_algorithm) {
        attention_problem p(c);
        if (how == algorithm::naive || !can_run(p, how)) {
          continue;
        }
        REQUIRE(run(calls, p, {.how = how}).empty());
        const output_bits once = bits_of(p);
        const output_bits first = bits_of(p, p.sequences[0]);
        REQUIRE(run(calls, p, {.how = how, .threads = 3, .shuffle = 11}).empty());
        CAPTURE(static_cast<int>(r.how.weights), name(form), name(how));
        CHECK(bits_of(p) == once);
        attention_case one = c;
        one.B = 1;
        attention_problem alone(one);
        if (form == call_form::batched) {
          alone.q.for_each([&](const auto& at) { alone.q.set(at, p.q[at]); });
          alone.k.for_each([&](const auto& at) { alone.k.set(at, p.k[at]); });
          alone.v.for_each([&](const auto& at) { alone.v.set(at, p.v[at]); });
          REQUIRE(run(calls, alone, {.how = how}).empty());
          CHECK(bits_of(alone, alone.sequences[0]) == first);
        }
      }
    }
  }
}

TEST_CASE("passes are pinned by name, and refused where a rule does not take them",
          "[softmax_attention]") {
  small_call c(4, 4, 2);
  const auto algorithm_of = [&](const char* pin, const seqmix::attention_normaliser& how) {
    const auto report =
        seqmix::softmax_attention.explain(c.queries(), c.keys(), c.values(), c.out(),
                                          {.normaliser = how}, {.pin = {.algorithm = pin}});
    return report.implementation == "flash" ? report.algorithm : std::string();
  };
  CHECK(algorithm_of("", {}) == "split_kv");
  CHECK(algorithm_of("two_pass", {}) == "two_pass");
  CHECK(algorithm_of("three_pass", {}) == "three_pass");
  CHECK(algorithm_of("two_pass", {.weights = rule::sigmoid}).empty());
  CHECK(algorithm_of("three_pass", {.weights = rule::relu}).empty());
  CHECK(algorithm_of("", {.weights = rule::softplus, .sharpen = 2}) == "two_pass");
  CHECK(algorithm_of("two_pass", {.weights = rule::softplus, .sharpen = 2}) == "two_pass");
  CHECK(algorithm_of("split_kv", {.weights = rule::softplus, .sharpen = 2}).empty());
  CHECK(algorithm_of("tiled", {.weights = rule::softplus, .sharpen = 2}).empty());
  CHECK(algorithm_of("split_kv", {.weights = rule::softplus}) == "split_kv");
}

TEST_CASE("what a rule cannot honour is refused by name, and nothing is written",
          "[softmax_attention][refusals]") {
  small_call c(2, 2, 2);
  const std::vector<float> logits{0};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  using options = seqmix::softmax_attention_options;
  const auto with = [](const seqmix::attention_normaliser& how) {
    return options{.normaliser = how};
  };
  CHECK(refusal(c, with({.weights = static_cast<rule>(9)})) == "options.normaliser.weights");
  CHECK(refusal(c, with({.shift = 1})) == "options.normaliser.shift");
  CHECK(refusal(c, with({.weights = rule::sigmoid, .shift = nan})) == "options.normaliser.shift");
  CHECK(refusal(c, with({.sharpen = 2})) == "options.normaliser.sharpen");
  CHECK(refusal(c, with({.weights = rule::softplus, .sharpen = -1})) ==
        "options.normaliser.sharpen");
  CHECK(refusal(c, with({.weights = rule::softplus, .mean = true})) == "options.normaliser.mean");
  options sink = with({.weights = rule::sigmoid});
  sink.sink_logits = seqmix::view(logits.data(), 1);
  CHECK(refusal(c, sink) == "options.sink_logits");
  for (const seqmix::attention_normaliser& how :
       {seqmix::attention_normaliser{.weights = rule::relu},
        seqmix::attention_normaliser{.weights = rule::sigmoid},
        seqmix::attention_normaliser{.weights = rule::none},
        seqmix::attention_normaliser{.weights = rule::softplus, .sharpen = 1}}) {
    options o = with(how);
    o.lse = c.sums();
    CHECK(refusal(c, o) == "options.lse");
  }
  CHECK(c.o == std::vector<float>(4, -7));
  CHECK(c.lse == std::vector<float>(2, -7));
}

TEST_CASE("names of the operator: the same results, and calls that are not what they say",
          "[softmax_attention][refusals]") {
  small_call c(5, 5, 2);
  for (std::size_t i = 0; i < c.q.size(); ++i) {
    c.q[i] = static_cast<float>(normal(3000 + i));
    c.k[i] = static_cast<float>(normal(4000 + i));
  }
  const std::vector<float> logits{0.5F};
  const auto same = [&](const auto& name, const seqmix::softmax_attention_options& options,
                        const seqmix::softmax_attention_options& plain) {
    name(c.queries(), c.keys(), c.values(), c.out(), options);
    const std::vector<float> named = c.o;
    seqmix::softmax_attention(c.queries(), c.keys(), c.values(), c.out(), plain);
    return named == c.o;
  };
  const auto broken = [&](const auto& name, const seqmix::softmax_attention_options& options) {
    try {
      name(c.queries(), c.keys(), c.values(), c.out(), options);
    } catch (const seqmix::error& e) {
      return e.operator_name() + " " + e.argument();
    }
    return std::string();
  };
  const seqmix::softmax_attention_options window{.causal = true, .window = {.left = 2}};
  CHECK(same(seqmix::sliding_window_attention, window, window));
  CHECK(broken(seqmix::sliding_window_attention, {.causal = true}) ==
        "sliding_window_attention options.window");
  const seqmix::softmax_attention_options sinks{
      .causal = true, .window = {.left = 1}, .sink_tokens = 1};
  CHECK(same(seqmix::sink_attention, sinks, sinks));
  const seqmix::softmax_attention_options learned{.sink_logits = seqmix::view(logits.data(), 1)};
  CHECK(same(seqmix::sink_attention, learned, learned));
  CHECK(broken(seqmix::sink_attention, window) == "sink_attention options.sink_tokens");
  CHECK(broken(seqmix::sink_attention, {.sink_tokens = 1}) == "sink_attention options.window.left");
  CHECK(same(seqmix::relu_attention, {}, {.normaliser = {.weights = rule::relu}}));
  CHECK(same(seqmix::sigmoid_attention, {.normaliser = {.shift = -1}},
             {.normaliser = {.weights = rule::sigmoid, .shift = -1}}));
  CHECK(same(
      seqmix::softplus_attention, {},
      {.scale = std::log(2.0), .normaliser = {.weights = rule::softplus}, .log_length = true}));
  CHECK(broken(seqmix::relu_attention, {.normaliser = {.weights = rule::none}}) ==
        "relu_attention options.normaliser.weights");
  CHECK(broken(seqmix::relu_attention, {.scale = HUGE_VAL}) == "relu_attention options.scale");
  const auto report =
      seqmix::sliding_window_attention.explain(c.queries(), c.keys(), c.values(), c.out(), window);
  CHECK(report.implementation == "flash");
  CHECK(seqmix::sliding_window_attention.workspace_bytes(c.queries(), c.keys(), c.values(), c.out(),
                                                         window) > 0);
}
