// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

// A functor between the scaled score and the softmax.

using namespace seqmix_test;

namespace {

/// Adds a number of the caller's for each pair, so that every member of the context shows.
struct table_score {
  const std::vector<float>* table;
  std::int64_t sequences, heads, queries, keys;

  std::size_t at(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(((b * heads + h) * queries + i) * keys + j);
  }
  float operator()(float score, const seqmix::score_context& c) const {
    return score + (*table)[at(c.sequence, c.head, c.query, c.key)] +
           static_cast<float>(c.queries - queries) + static_cast<float>(c.keys - keys);
  }
};

}  // namespace

TEST_CASE("a score functor sees every pair where it is, and changes its score",
          "[softmax_attention]") {
  const std::int64_t B = 2, T = 5, S = 7, H = 4;
  attention_problem p({.B = B, .T = T, .S = S, .H = H, .HK = 2, .D = 8, .V = 3, .causal = true});
  std::vector<float> table(static_cast<std::size_t>(B * H * T * S));
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = static_cast<float>(normal(i));
  }
  const table_score functor{&table, B, H, T, S};
  p.clear_outputs();
  seqmix::softmax_attention(p.q.view<float>(), p.k.view<float>(), p.v.view<float>(),
                            p.o.view<float>(), functor, {.causal = true});
  // By hand, one row at a time.
  double worst = 0;
  p.o.for_each([&](const tensor<4>::index& at) {
    const auto [b, i, h, x] = at;
    double sum = 0;
    double value = 0;
    for (std::int64_t j = 0; j <= i + S - T; ++j) {
      double score = 0;
      for (std::int64_t d = 0; d < 8; ++d) {
        score += p.q[{b, i, h, d}] * p.k[{b, j, h / 2, d}];
      }
      const double weight = std::exp(score / std::sqrt(8.0) + table[functor.at(b, h, i, j)]);
      sum += weight;
      value += weight * p.v[{b, j, h / 2, x}];
    }
    worst = std::max(worst, std::abs(p.o[at] - value / sum));
  });
  CHECK(worst < 1e-5);

  // Every algorithm, on sizes with whole blocks and parts of blocks.
  attention_case c{.B = 2, .T = 70, .S = 300, .H = 4, .HK = 2, .D = 16, .V = 16};
  c.causal = true;
  c.softcap = 2;
  c.bias = bias_shape::full;
  c.window = {.left = 100};
  attention_problem large(c);
  const auto distance = [](float score, const seqmix::score_context& at) {
    const auto away = static_cast<float>(at.query + at.keys - at.queries - at.key);
    return score - 0.02f * away * static_cast<float>(1 + at.head + at.sequence);
  };
  const auto run_as = [&](algorithm how) {
    large.clear_outputs();
    seqmix::softmax_attention(large.q.view<float>(), large.k.view<float>(), large.v.view<float>(),
                              large.o.view<float>(), distance, large.options(),
                              seqmix::context{.pin = pin_of(how)});
    return large.o.values();
  };
  const std::vector<double> expected = run_as(algorithm::naive);
  CHECK(compare(run_as(algorithm::tiled), expected, tolerance_of(scalar_type::f32)) == "");
  CHECK(compare(run_as(algorithm::automatic), expected, tolerance_of(scalar_type::f32)) == "");
  large = attention_problem([&] {
    c.T = 9;
    return c;
  }());
  const std::vector<double> few = run_as(algorithm::naive);
  CHECK(compare(run_as(algorithm::split_kv), few, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("a score functor works in every form of the call", "[softmax_attention]") {
  // One that changes nothing gives what the call without it gives.
  const auto same = [](float score, const seqmix::score_context&) { return score; };
  for (const call_form form :
       {call_form::batched, call_form::packed, call_form::cached, call_form::paged}) {
    for (const std::uint64_t seed : {1u, 2u}) {
      attention_case c{.B = 3,
                       .T = 6,
                       .S = 9,
                       .H = 2,
                       .HK = 1,
                       .D = 8,
                       .V = 8,
                       .causal = true,
                       .lse = scalar_type::f32,
                       .form = form,
                       .seed = seed};
      attention_problem p(c);
      p.clear_outputs();
      const auto report = with_views<float, float, float, float>(p, [&](const auto&... a) {
        const auto call = [&](const auto&... tensors) {
          return [&, ... t = tensors](const seqmix::softmax_attention_options& options) {
            seqmix::softmax_attention(t..., same, options);
            return seqmix::softmax_attention.explain(t..., same, options);
          };
        };
        // The options are the last argument: the functor goes before them.
        return [&]<std::size_t... I>(std::index_sequence<I...>, const auto& all) {
          return call(std::get<I>(all)...)(std::get<sizeof...(I)>(all));
        }(std::make_index_sequence<sizeof...(a) - 1>{}, std::tie(a...));
      });
      CAPTURE(c);
      CHECK(verify(p, attention_reference(p)) == "");
      CHECK(report.implementation == "flash");
    }
  }
}

TEST_CASE("what a functor makes of a masked score does not matter", "[softmax_attention]") {
  attention_problem p({.T = 9, .S = 9, .D = 8, .V = 8, .causal = true});
  const auto poison = [](float score, const seqmix::score_context& at) {
    return at.key <= at.query ? score : std::numeric_limits<float>::quiet_NaN();
  };
  p.clear_outputs();
  seqmix::softmax_attention(p.q.view<float>(), p.k.view<float>(), p.v.view<float>(),
                            p.o.view<float>(), poison, {.causal = true});
  CHECK(verify(p, attention_reference(p)) == "");
  p.clear_outputs();
  seqmix::naive_softmax_attention(p.q.view<float>(), p.k.view<float>(), p.v.view<float>(),
                                  p.o.view<float>(), poison, {.causal = true});
  CHECK(verify(p, attention_reference(p)) == "");
}
