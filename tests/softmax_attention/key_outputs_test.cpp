// SPDX-License-Identifier: Apache-2.0
// What attention says about the keys: accumulated weights and the keys that got the most.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

using namespace seqmix_test;
using seqmix::group_reduction;

namespace {

struct key_case {
  attention_case attention;
  bool of_query_heads = true;
  group_reduction across = group_reduction::mean;
  std::int64_t most = 5;
};

/// A problem with its side outputs, which are full of garbage at first.
struct key_problem {
  key_case c;
  attention_problem p;
  std::int64_t heads, outer, keys;
  tensor<3> scores, top;

  explicit key_problem(const key_case& which)
      : c(which),
        p(which.attention),
        heads(which.of_query_heads ? p.c.H : p.c.HK),
        outer(p.c.form == call_form::packed ? 1 : p.c.B),
        keys(p.c.form == call_form::packed ? p.k.extent(1) : p.c.S),
        scores(p.c.seed % 2 == 0 ? scalar_type::f32 : scalar_type::f64, {outer, heads, keys},
               p.c.o),
        top(p.c.seed % 2 == 0 ? scalar_type::i64 : scalar_type::i32, {p.c.B, heads, which.most},
            p.c.o) {}

  template <class T>
  void run(const seqmix::context& ctx = {}) {
    p.clear_outputs();
    scores.clear();
    top.clear();
    with_views<T, T, T, T>(p, [&](const auto& q, const auto&... rest) { call(ctx, q, rest...); });
  }

  /// The softmax weights that key j of sequence b gets from query head h, from the definition.
  std::vector<double> expected(std::int64_t b, std::int64_t h) const {
    const sequence_place& s = p.sequences[static_cast<std::size_t>(b)];
    std::vector<double> sum(static_cast<std::size_t>(s.keys), 0.0);
    for (std::int64_t i = 0; i < s.queries; ++i) {
      std::vector<double> score(sum.size(), -infinity);
      double m = p.c.sink_logits ? p.sink[{h}] : -infinity;
      for (std::int64_t j = 0; j < s.keys; ++j) {
        if (sees(p.c, s, i, j)) {
          double dot = 0;
          for (std::int64_t d = 0; d < p.c.D; ++d) {
            dot += p.q[{s.batch, s.q_begin + i, h, d}] *
                   p.k[{s.batch, s.k_begin + j, h * p.c.HK / p.c.H, d}];
          }
          double& x = score[static_cast<std::size_t>(j)];
          x = p.biased(dot / std::sqrt(static_cast<double>(p.c.D)), b, h, i, j);
          m = std::max(m, x);
        }
      }
      double l = p.c.sink_logits ? std::exp(p.sink[{h}] - m) : 0;
      for (const double x : score) {
        l += x == -infinity ? 0 : std::exp(x - m);
      }
      for (std::size_t j = 0; j < sum.size(); ++j) {
        sum[j] += score[j] == -infinity ? 0 : std::exp(score[j] - m) / l;
      }
    }
    return sum;
  }

  std::vector<double> expected_row(std::int64_t b, std::int64_t head) const {
    if (c.of_query_heads) {
      return expected(b, head);
    }
    const std::int64_t group = p.c.H / p.c.HK;
    std::vector<double> all = expected(b, head * group);
    for (std::int64_t g = 1; g < group; ++g) {
      const std::vector<double> one = expected(b, head * group + g);
      for (std::size_t j = 0; j < all.size(); ++j) {
        all[j] = c.across == group_reduction::mean ? all[j] + one[j] : std::max(all[j], one[j]);
      }
    }
    for (double& x : all) {
      x /= c.across == group_reduction::mean ? static_cast<double>(group) : 1;
    }
    return all;
  }

  /// What is wrong with the outputs, else nothing.
  std::string verify(double tolerance) const {
    for (std::int64_t b = 0; b < p.c.B; ++b) {
      const sequence_place& s = p.sequences[static_cast<std::size_t>(b)];
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::vector<double> row = expected_row(b, h);
        std::vector<double> actual;
        for (std::int64_t j = 0; j < s.keys; ++j) {
          actual.push_back(scores[{s.batch, h, s.k_begin + j}]);
          const double want = row[static_cast<std::size_t>(j)];
          if (!(std::fabs(actual.back() - want) <= tolerance * (1 + want))) {
            return "score of key " + std::to_string(j) + ": " + std::to_string(actual.back()) +
                   " instead of " + std::to_string(want);
          }
        }
        for (std::int64_t j = s.keys; p.c.form != call_form::packed && j < keys; ++j) {
          if (scores[{s.batch, h, j}] != 0) {
            return "a score behind the last key";
          }
        }
        // The order is that of the scores that were given out, which decide ties.
        std::vector<std::int64_t> order(actual.size());
        for (std::size_t j = 0; j < order.size(); ++j) {
          order[j] = static_cast<std::int64_t>(j);
        }
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t x) {
          return actual[static_cast<std::size_t>(a)] > actual[static_cast<std::size_t>(x)];
        });
        for (std::int64_t n = 0; n < c.most; ++n) {
          const auto at = static_cast<std::size_t>(n);
          const bool any = at < order.size() && actual[static_cast<std::size_t>(order[at])] > 0;
          if (static_cast<std::int64_t>(top[{b, h, n}]) != (any ? order[at] : -1)) {
            return "entry " + std::to_string(n) + " of the top keys";
          }
        }
      }
    }
    return scores.gaps_untouched() && top.gaps_untouched() ? "" : "memory that is not its own";
  }

 private:
  template <class... Rest>
  void call(const seqmix::context& ctx, const Rest&... rest) {
    const auto tuple = std::tie(rest...);
    constexpr std::size_t last = sizeof...(Rest) - 1;
    seqmix::softmax_attention_options options = std::get<last>(tuple);
    options.key_outputs.across_group = c.across;
    if (scores.type() == scalar_type::f32) {
      options.key_outputs.scores = scores.view<float>();
      options.key_outputs.top = top.view<std::int64_t>();
    } else {
      options.key_outputs.scores = scores.view<double>();
      options.key_outputs.top = top.view<std::int32_t>();
    }
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      seqmix::softmax_attention(std::get<I>(tuple)..., options, ctx);
    }(std::make_index_sequence<last>{});
  }
};

std::vector<key_case> cases() {
  std::vector<key_case> all;
  std::uint64_t seed = 1;
  for (const call_form form :
       {call_form::batched, call_form::packed, call_form::cached, call_form::paged}) {
    for (const auto& [T, S] :
         {std::pair<std::int64_t, std::int64_t>{1, 200}, {3, 65}, {70, 130}, {9, 5}, {2, 0}}) {
      for (const bool query_heads : {true, false}) {
        key_case c;
        c.attention = {.B = 2, .T = T, .S = S, .H = 6, .HK = 2, .D = 20, .V = 8};
        c.attention.causal = seed % 2 == 0;
        c.attention.window.left = seed % 3 == 0 ? 30 : seqmix::unbounded;
        c.attention.sinks = seed % 3 == 0 ? 4 : 0;
        c.attention.alibi = seed % 4 == 1;
        c.attention.sink_logits = seed % 5 == 2;
        c.attention.softcap = seed % 7 == 3 ? 2 : 0;
        c.attention.form = form;
        c.attention.page = 7;
        c.attention.o = seed % 2 == 0 ? layout::strided : layout::dense;
        c.attention.k = seed % 3 == 1 ? layout::head_first : layout::dense;
        c.attention.seed = seed++;
        c.of_query_heads = query_heads;
        c.across = seed % 4 < 2 ? group_reduction::mean : group_reduction::max;
        all.push_back(c);
      }
    }
  }
  return all;
}

template <class T>
void check_cases(double tolerance) {
  for (key_case c : cases()) {
    c.attention.types = types_of_all<T>();
    key_problem k(c);
    for (const char* how : {"", "naive"}) {
      seqmix::context ctx;
      ctx.pin.implementation = how;
      k.run<T>(ctx);
      CAPTURE(c.attention, c.of_query_heads, how);
      CHECK(k.verify(k.scores.type() == scalar_type::f32 ? 3e-6 : tolerance) == "");
    }
  }
}

}  // namespace

TEST_CASE("key weights and top keys, every form, f32", "[softmax_attention][K03][K04]") {
  check_cases<float>(3e-6);
}
TEST_CASE("key weights and top keys, every form, f64", "[softmax_attention][K03][K04]") {
  check_cases<double>(1e-13);
}
TEST_CASE("key weights and top keys, every form, bf16", "[softmax_attention][K03][K04]") {
  check_cases<seqmix::bf16>(3e-6);
}

TEST_CASE("weights of a row sum to one over the keys", "[softmax_attention][K03]") {
  key_case c;
  c.attention = {.T = 5, .S = 300, .H = 4, .HK = 2, .D = 16, .V = 8, .seed = 2};
  c.attention.types = types_of_all<float>();
  key_problem k(c);
  k.run<float>();
  for (std::int64_t h = 0; h < 4; ++h) {
    double sum = 0;
    for (std::int64_t j = 0; j < 300; ++j) {
      sum += k.scores[{0, h, j}];
    }
    CHECK(std::fabs(sum - 5) < 1e-5);
  }
}

TEST_CASE("equal keys: the lower index comes first", "[softmax_attention][K04]") {
  std::vector<float> q(4, 0.5F);
  std::vector<float> k(9 * 4, 0.25F);
  std::vector<float> o(4);
  std::vector<std::int32_t> top(12, 99);
  k[6 * 4] = 3;  // key 6 is the best
  k[2 * 4] = -9;
  const auto keys = seqmix::view(k.data(), 1, 9, 1, 4);
  seqmix::softmax_attention(seqmix::view(q.data(), 1, 1, 1, 4), keys, keys,
                            seqmix::view(o.data(), 1, 1, 1, 4),
                            {.key_outputs = {.top = seqmix::view(top.data(), 1, 1, 12)}});
  CHECK(top == std::vector<std::int32_t>{6, 0, 1, 3, 4, 5, 7, 8, 2, -1, -1, -1});
}

TEST_CASE("side outputs: the same bits with any executor, and the output keeps its own",
          "[softmax_attention][determinism][threads]") {
  for (key_case c : cases()) {
    c.attention.types = types_of_all<float>();
    c.attention.lse = scalar_type::f32;
    key_problem k(c);
    REQUIRE(run(calls_for<float>(), k.p, {}).empty());
    const output_bits plain = bits_of(k.p);
    k.run<float>();
    CAPTURE(c.attention);
    CHECK(bits_of(k.p) == plain);
    const auto scores = k.scores.all_bits();
    const auto top = k.top.all_bits();
    pool_executor pool(3, 5);
    k.run<float>({.executor = pool});
    CHECK(k.scores.all_bits() == scores);
    CHECK(k.top.all_bits() == top);
  }
}

TEST_CASE("a NaN reaches the scores of the keys that its row sees, and is no top key",
          "[softmax_attention][nonfinite]") {
  key_case c;
  c.attention = {.T = 40, .S = 100, .H = 1, .HK = 1, .D = 8, .V = 8, .causal = true, .seed = 2};
  c.attention.types = types_of_all<float>();
  for (const char* how : {"", "naive"}) {
    key_problem k(c);
    k.p.q.set({0, 0, 0, 3}, std::numeric_limits<double>::quiet_NaN());  // sees keys 0 to 60
    seqmix::context ctx;
    ctx.pin.implementation = how;
    k.run<float>(ctx);
    bool contained = true;
    for (std::int64_t j = 0; j < 100; ++j) {
      contained = contained && std::isnan(k.scores[{0, 0, j}]) == (j <= 60);
    }
    CHECK(contained);
    CHECK(k.top[{0, 0, 0}] > 60);
  }
}

TEST_CASE("side outputs with a mask functor", "[softmax_attention][K03]") {
  key_case c;
  c.attention = {.T = 20, .S = 80, .H = 2, .HK = 1, .D = 8, .V = 8, .seed = 4};
  c.attention.types = types_of_all<float>();
  attention_problem p(c.attention);
  std::vector<float> a(2 * 80), b(a);
  const seqmix::chunk_mask mask{.size = 10, .left = 2};
  seqmix::softmax_attention_options options = p.options();
  options.key_outputs.scores = seqmix::view(a.data(), 1, 2, 80);
  seqmix::softmax_attention(p.q.view<const float>(), p.k.view<const float>(),
                            p.v.view<const float>(), p.o.view<float>(), mask, options);
  options.key_outputs.scores = seqmix::view(b.data(), 1, 2, 80);
  seqmix::naive_softmax_attention(p.q.view<const float>(), p.k.view<const float>(),
                                  p.v.view<const float>(), p.o.view<float>(), mask, options);
  CHECK(compare({a.begin(), a.end()}, {b.begin(), b.end()}, tolerance_of(scalar_type::f32)) == "");
  CHECK(a[0] == 0);  // every query stands in the last two chunks
}

TEST_CASE("side outputs are refused by name where they cannot be",
          "[softmax_attention][refusals]") {
  std::vector<float> x(2 * 4 * 8, 1.0F), o(x.size(), -7), s(64, -7);
  std::vector<std::int64_t> top(64, -7);
  const auto refused = [&](const seqmix::attention_key_outputs& outputs,
                           seqmix::attention_weights weights = {}) {
    const auto q = seqmix::view(x.data(), 2, 2, 2, 8);
    const auto k = seqmix::view(x.data(), 2, 4, 1, 8);
    try {
      seqmix::softmax_attention(q, k, k, seqmix::view(o.data(), 2, 2, 2, 8),
                                {.normaliser = {.weights = weights}, .key_outputs = outputs});
    } catch (const seqmix::error& e) {
      return e.argument();
    }
    return std::string();
  };
  const std::string scores_name = "options.key_outputs.scores";
  const std::string top_name = "options.key_outputs.top";
  CHECK(refused({.scores = seqmix::view(s.data(), 2, 3, 4)}) == scores_name);
  CHECK(refused({.scores = seqmix::view(s.data(), 1, 2, 4)}) == scores_name);
  CHECK(refused({.scores = seqmix::view(s.data(), 2, 2, 5)}) == scores_name);
  CHECK(refused({.scores = seqmix::view(top.data(), 2, 2, 4)}) == scores_name);
  CHECK(refused({.scores = seqmix::view(o.data(), 2, 2, 4)}) == scores_name);
  CHECK(refused({.scores = seqmix::tensor_view<float, 3>(s.data(), {2, 2, 4}, {0, 4, 1})}) ==
        scores_name);
  CHECK(refused({.top = seqmix::view(s.data(), 2, 2, 4)}) == top_name);
  CHECK(refused({.scores = seqmix::view(s.data(), 2, 2, 4),
                 .top = seqmix::view(top.data(), 2, 1, 4)}) == top_name);
  CHECK(refused({.top = seqmix::view(top.data(), 2, 2, 4)}, seqmix::attention_weights::sigmoid) ==
        "options.key_outputs");
  CHECK(o == std::vector<float>(o.size(), -7));
  CHECK(s == std::vector<float>(s.size(), -7));
  CHECK(top == std::vector<std::int64_t>(top.size(), -7));
}
