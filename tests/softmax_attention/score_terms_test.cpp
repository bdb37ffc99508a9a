// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"

// Sink logits, ALiBi and biases against the biases that they equal.

using namespace seqmix_test;

namespace {

constexpr algorithm algorithms[] = {algorithm::tiled, algorithm::split_kv, algorithm::naive};
constexpr tolerance limits = tolerance_of(scalar_type::f32);

attention_case case_of(std::int64_t T, std::int64_t S) {
  return {.B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = 16, .V = 12, .lse = scalar_type::f32};
}

std::vector<double> output(attention_problem& p, algorithm how) {
  run(calls_for<float>(), p, {.how = how});
  return p.o.values();
}

}  // namespace

TEST_CASE("a sink logit is one more key with that score and a value of zero",
          "[softmax_attention]") {
  for (const algorithm how : algorithms) {
    attention_case c = case_of(20, 40);
    c.sink_logits = true;
    attention_problem with(c);
    const std::vector<double> actual = output(with, how);

    // The extra key gets its score from a bias: its keys and values are zero.
    c.sink_logits = false;
    c.S = 41;
    c.bias = bias_shape::heads_and_keys;
    attention_problem extra(c);
    extra.bias.for_each([&](const tensor<4>::index& i) {
      extra.bias.set(i, i[3] == 40 ? with.sink[{i[1]}] : 0.0);
    });
    for (const auto& pair : {std::pair{&with.k, &extra.k}, std::pair{&with.v, &extra.v}}) {
      pair.second->for_each([&](const tensor<4>::index& i) {
        pair.second->set(i, i[1] < 40 ? (*pair.first)[i] : 0.0);
      });
    }
    const std::vector<double> expected = output(extra, how);
    CAPTURE(name(how));
    CHECK(compare(actual, expected, limits) == "");
    CHECK(compare(with.lse.values(), extra.lse.values(), limits, bound::target, 1.0) == "");
  }
}

TEST_CASE("ALiBi is a bias of minus slope times distance", "[softmax_attention]") {
  for (const algorithm how : algorithms) {
    for (const bool causal : {false, true}) {
      attention_case c = case_of(20, 100);
      c.causal = causal;
      c.alibi = true;
      attention_problem with(c);
      const std::vector<double> actual = output(with, how);
      c.alibi = false;
      c.bias = bias_shape::full;
      attention_problem table(c);
      table.bias = tensor<4>(scalar_type::f64, table.bias.extents());
      table.bias.for_each([&](const tensor<4>::index& i) {
        const auto distance = static_cast<double>(std::abs(i[2] + 80 - i[3]));
        table.bias.set(i, -with.slopes[{i[1]}] * distance);
      });
      CAPTURE(name(how), causal);
      CHECK(compare(actual, output(table, how), limits) == "");
    }
  }
}

TEST_CASE("a bias of minus infinity hides a key, and NaN stays in its row", "[softmax_attention]") {
  for (const algorithm how : algorithms) {
    attention_case c = case_of(20, 70);
    c.causal = true;
    c.bias = bias_shape::full;
    attention_problem p(c);
    // Hidden beyond a distance of 9: a window.
    p.bias.for_each(
        [&](const tensor<4>::index& i) { p.bias.set(i, i[3] < i[2] + 50 - 9 ? -infinity : 0.0); });
    const std::vector<double> actual = output(p, how);
    attention_case w = case_of(20, 70);
    w.causal = true;
    w.window = {.left = 9};
    attention_problem windowed(w);
    CAPTURE(name(how));
    CHECK(compare(actual, output(windowed, how), limits) == "");

    const attention_problem clean = p;
    p.bias.set({1, 2, 5, 3}, std::numeric_limits<double>::quiet_NaN());
    p.bias.set({1, 2, 6, 69}, std::numeric_limits<double>::quiet_NaN());  // masked
    run(calls_for<float>(), p, {.how = how});
    bool right = true;
    p.o.for_each([&](const tensor<4>::index& i) {
      const bool hit = i[0] == 1 && i[2] == 2 && i[1] == 5;
      right &= hit ? std::isnan(p.o[i]) : p.o.bits(i) == clean.o.bits(i);
    });
    CHECK(right);
  }
}

TEST_CASE("ALiBi between the rows' own indexes moves no bits", "[softmax_attention]") {
  for (const algorithm how : algorithms) {
    for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
      attention_case c = case_of(20, 300);
      c.form = form;
      c.alibi = true;
      attention_problem rows(c);
      run(calls_for<float>(), rows, {.how = how});
      // Far from zero, where a float has no unit left.
      for (const double start : {0.0, -0x1p53, 0x1p52}) {
        c.between = alibi_between::integers;
        attention_problem p(c);
        p.alibi_query = tensor<2>(scalar_type::i64, p.alibi_query.extents());
        p.alibi_key = tensor<2>(scalar_type::i64, p.alibi_key.extents());
        for (const sequence_place& s : p.sequences) {
          for (std::int64_t i = 0; i < s.queries; ++i) {
            p.alibi_query.set({s.batch, s.q_begin + i},
                              start + static_cast<double>(i + s.keys - s.queries));
          }
          for (std::int64_t j = 0; j < s.keys; ++j) {
            p.alibi_key.set({s.batch, s.k_begin + j}, start + static_cast<double>(j));
          }
        }
        run(calls_for<float>(), p, {.how = how});
        CAPTURE(name(how), name(form), start);
        CHECK((bits_of(p) == bits_of(rows)));
      }
    }
  }
}

TEST_CASE("indexes at both ends of int64 have a distance", "[softmax_attention]") {
  // Two keys, one at the query's index and one as far from it as can be: with a slope of 2^-64 the
  // other's score is lower by one.
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const std::vector<float> zero(2);
  const std::vector<float> value{0, 1};
  const double slope = 0x1p-64;
  for (const auto& [f, g] : {std::pair{least, most}, std::pair{most, least}}) {
    const std::int64_t keys[] = {f, g};
    for (const algorithm how : algorithms) {
      float o = 0;
      seqmix::softmax_attention(
          seqmix::view(zero.data(), 1, 1, 1, 1), seqmix::view(zero.data(), 1, 2, 1, 1),
          seqmix::view(value.data(), 1, 2, 1, 1), seqmix::view(&o, 1, 1, 1, 1),
          {.alibi_slopes = seqmix::view(&slope, 1),
           .alibi = {.query = seqmix::view(&keys[0], 1, 1), .key = seqmix::view(keys, 1, 2)}},
          {.pin = pin_of(how)});
      CHECK(std::abs(o - 1 / (1 + std::exp(1.0))) < 1e-6);
    }
  }
}

TEST_CASE("the signed form of ALiBi between frames, under a causal mask", "[softmax_attention]") {
  // slope (g_j - f_i) with frames that never fall, as a bias.
  for (const algorithm how : algorithms) {
    attention_case c = case_of(20, 100);
    c.causal = true;
    c.alibi = true;
    c.between = alibi_between::integers;
    attention_problem with(c);
    const std::vector<double> actual = output(with, how);
    c.alibi = false;
    c.between = alibi_between::rows;
    c.bias = bias_shape::full;
    attention_problem table(c);
    table.bias = tensor<4>(scalar_type::f64, table.bias.extents());
    table.bias.for_each([&](const tensor<4>::index& i) {
      const double difference = with.alibi_key[{i[0], i[3]}] - with.alibi_query[{i[0], i[2]}];
      table.bias.set(i, with.slopes[{i[1]}] * difference);
    });
    CAPTURE(name(how));
    CHECK(compare(actual, output(table, how), limits) == "");
  }
}

TEST_CASE("a bias by distance has the bits of the bias that it spells out", "[softmax_attention]") {
  for (const algorithm how : algorithms) {
    for (const bias_shape shape :
         {bias_shape::full, bias_shape::heads_and_keys, bias_shape::queries, bias_shape::scalar}) {
      for (const std::uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u}) {
        attention_case c = case_of(20, 330);
        c.causal = seed % 2 == 0;
        c.seed = seed;
        c.relative = shape;
        attention_problem with(c);
        run(calls_for<float>(), with, {.how = how});
        c.relative = bias_shape::none;
        c.bias = bias_shape::full;
        attention_problem dense(c);
        dense.bias = tensor<4>(with.relative.type(), dense.bias.extents());
        dense.bias.for_each([&](const tensor<4>::index& i) {
          const tensor<4>::index& e = with.relative.extents();
          const std::int64_t distance = i[2] + 330 - 20 - i[3];
          dense.bias.set(
              i, with.relative[{i[0] % e[0], i[1] % e[1], i[2] % e[2],
                                std::clamp<std::int64_t>(distance + with.origin, 0, e[3] - 1)}]);
        });
        run(calls_for<float>(), dense, {.how = how});
        CAPTURE(name(how), name(shape), seed);
        CHECK((bits_of(with) == bits_of(dense)));
      }
    }
  }
}

TEST_CASE("indexes and entries of NaN reach the rows that see them", "[softmax_attention]") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const algorithm how : algorithms) {
    attention_case c = case_of(20, 90);
    c.causal = true;
    c.alibi = true;
    c.between = alibi_between::reals;
    c.relative = bias_shape::heads_and_keys;
    c.window = {.left = 40};
    attention_problem p(c);
    for (tensor<2>* t : {&p.alibi_query, &p.alibi_key}) {
      const tensor<2> before = *t;
      *t = tensor<2>(scalar_type::f64, before.extents());
      t->for_each([&](const tensor<2>::index& i) { t->set(i, before[i]); });
    }
    p.relative = tensor<4>(scalar_type::f32, {1, 4, 1, 101});
    p.relative.fill(5);
    p.origin = 50;
    run(calls_for<float>(), p, {.how = how});
    const attention_problem clean = p;
    // Later keys than any row sees, and distances out of the window.
    p.alibi_key.set({0, 75}, nan);
    p.alibi_query.set({1, 3}, nan);
    for (std::int64_t entry = 0; entry < 101; ++entry) {
      for (std::int64_t h = 0; h < 4 && (entry < 50 || entry > 90); ++h) {
        p.relative.set({0, h, 0, entry}, nan);
      }
    }
    p.relative.set({0, 2, 0, 50 + 7}, infinity);
    run(calls_for<float>(), p, {.how = how});
    bool right = true;
    p.o.for_each([&](const tensor<4>::index& i) {
      const bool hit = (i[0] == 0 && i[1] + 70 >= 75) || (i[0] == 1 && i[1] == 3) || i[2] == 2;
      right &= hit ? std::isnan(p.o[i]) : p.o.bits(i) == clean.o.bits(i);
    });
    CAPTURE(name(how));
    CHECK(right);
  }
}
