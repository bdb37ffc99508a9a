// SPDX-License-Identifier: Apache-2.0
// The attention by tiles of bf16, with an engine that any CPU has.
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/simd/amx.hpp>
#include <string>
#include <vector>

#include "support/attention_matrix.hpp"
#include "support/attention_target.hpp"
#include "support/errors.hpp"
#include "support/tile_calls.hpp"

using namespace seqmix_test;

namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();
constexpr algorithm only[] = {algorithm::automatic};

attention_case with_types(attention_case c, const attention_calls& calls) {
  c.types = calls.types;
  return c;
}

/// What is wrong with float outputs. Weights have 8 bits: each errs by 2^-8 of itself at most, and
/// a result by as much of sum p |v|, beside the rounding of float.
std::string check_f32(const attention_case& which) {
  const attention_calls calls = emulated_calls<float>();
  attention_problem p(with_types(which, calls));
  const std::string scratch = run(calls, p, {});
  const attention_reference expected(p);
  attention_problem sizes = p;
  sizes.v.for_each([&](const tensor<4>::index& i) { sizes.v.set(i, std::fabs(sizes.v[i])); });
  const std::vector<double> magnitude = attention_reference(sizes).o;
  const std::vector<double> actual = p.o.values();
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(actual[i] - expected.o[i]) <= 0x1.02p-8 * magnitude[i])) {
      return scratch + "element " + std::to_string(i) + " is " + std::to_string(actual[i]) +
             " instead of " + std::to_string(expected.o[i]);
    }
  }
  return scratch;
}

constexpr masking maskings[] = {{"none", false, {}, 0},
                                {"causal", true, {}, 0},
                                {"all terms", true, {}, 0, true},
                                {"window", false, {.left = 9, .right = 4}, 0},
                                {"window and sinks", true, {.left = 40}, 3}};

attention_case masked_case(const masking& m, std::int64_t T, std::int64_t S) {
  attention_case c{.B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = 20, .V = 40};
  m.apply(c);
  c.lse = scalar_type::f32;
  return c;
}

/// Runs clean, then with a number planted in keys or values. Rows that do not see it keep their
/// bits; of the others those are NaN, or infinite, that the definition says.
template <class Plant, class Hit>
void check_planted(const attention_case& c, const Plant& plant, const Hit& hit) {
  const attention_calls calls = emulated_calls<float>();
  attention_problem p(with_types(c, calls));
  run(calls, p, {});
  const attention_problem clean = p;
  plant(p);
  run(calls, p, {});
  const attention_reference expected(p);
  std::string text;
  std::size_t at = 0;
  p.o.for_each([&](const tensor<4>::index& i) {
    const double reference = expected.o[at++];
    const bool right = hit(i[0], i[1], i[2]) ? std::isnan(reference) == std::isnan(p.o[i]) &&
                                                   std::isinf(reference) == std::isinf(p.o[i])
                                             : p.o.bits(i) == clean.o.bits(i);
    if (!right && text.empty()) {
      text = "row " + std::to_string(i[1]) + " of head " + std::to_string(i[2]) + ", element " +
             std::to_string(i[3]) + " is " + std::to_string(p.o[i]) + ", was " +
             std::to_string(clean.o[i]) + ", the reference " + std::to_string(reference);
    }
  });
  p.lse.for_each([&](const tensor<3>::index& i) {
    if (!hit(i[0], i[2], i[1]) && p.lse.bits(i) != clean.lse.bits(i) && text.empty()) {
      text = "the lse of row " + std::to_string(i[2]);
    }
  });
  CAPTURE(c);
  CHECK(text == "");
}

}  // namespace

TEST_CASE("bf16 tiles against the definition", "[softmax_attention][matrix][threads]") {
  using namespace factors;
  matrix_sweep m{emulated_calls<seqmix::bf16>(), 400'000, only};
  const std::vector<sweep_factor> all{
      T,         S,        D,           V,     heads, causal, window,  sinks,   scale,
      lse,       any_form, batch,       q,     k,     v,      o,       threads, shuffle,
      workspace, softcap,  sink_logits, alibi, bias,  page,   between, relative};
  m.sweep(all, pairwise_plan(level_counts(all), 1));
  m.finish("bf16 tiles, pairwise");
}

TEST_CASE("bf16 tiles, sizes around those of tiles and blocks", "[softmax_attention]") {
  constexpr std::int64_t lengths[] = {1, 31, 32, 33, 255, 256, 257, 600};
  constexpr std::int64_t dims[] = {1, 16, 64, 80, 100, 128};
  std::uint64_t seed = 1;
  for (const std::int64_t T : lengths) {
    for (const std::int64_t S : lengths) {
      attention_case c{.T = T, .S = S, .H = 2, .HK = 1};
      c.D = dims[seed % 6];
      c.V = dims[(seed / 6 + seed) % 6];
      c.causal = seed % 2 == 0;
      c.seed = seed++;
      CAPTURE(c);
      CHECK(check_f32(c) == "");
    }
  }
  // More than one block of keys where panels are wide, and groups that no strip divides.
  CHECK(check_f32({.T = 40, .S = 200, .H = 2, .HK = 1, .D = 1024, .V = 500, .causal = true}) == "");
  CHECK(check_f32({.T = 70, .S = 300, .H = 5, .HK = 1, .D = 300, .V = 1024}) == "");
  CHECK(check_f32({.T = 600, .S = 600, .H = 7, .HK = 1, .D = 64, .V = 64, .causal = true}) == "");
}

TEST_CASE("bf16 tiles, log length and other scales", "[softmax_attention]") {
  attention_case c{.T = 90, .S = 300, .H = 2, .HK = 2, .D = 64, .V = 64, .causal = true};
  c.log_length = true;
  c.scale = 0.05;
  CHECK(check_f32(c) == "");
  c.log_length = false;
  c.scale = -0.3;
  CHECK(check_f32(c) == "");
}

TEST_CASE("bf16 tiles: any number of workers and any strides give the same bits",
          "[softmax_attention][threads]") {
  const attention_calls calls = emulated_calls<float>();
  for (const masking& m : maskings) {
    attention_case c = masked_case(m, 300, 420);
    attention_problem dense(with_types(c, calls));
    run(calls, dense, {});
    for (const layout kind : {layout::dense, layout::strided, layout::reversed, layout::head_first,
                              layout::misaligned}) {
      c.q = c.k = c.v = c.o = kind;
      attention_problem p(with_types(c, calls));
      for (const execution& e : {execution{.threads = 2}, execution{.threads = 3, .shuffle = 5}}) {
        run(calls, p, e);
        CAPTURE(c, e);
        CHECK((bits_of(p) == bits_of(dense)));
      }
    }
  }
}

TEST_CASE("bf16 tiles: a non-finite key or value reaches the rows that see it only",
          "[softmax_attention]") {
  for (const masking& m : maskings) {
    for (const std::int64_t S : {40, 300}) {
      const attention_case c = masked_case(m, S == 40 ? 40 : 70, S);
      const sequence_place place = attention_problem(c).sequences[0];
      for (const double poison : {quiet_nan, infinity, -infinity}) {
        for (const bool in_key : {true, false}) {
          for (const std::int64_t j : {std::int64_t{0}, std::int64_t{2}, S / 2, S - 1}) {
            CAPTURE(poison, in_key, j);
            check_planted(
                c, [&](attention_problem& p) { (in_key ? p.k : p.v).set({0, j, 1, 3}, poison); },
                [&](std::int64_t b, std::int64_t i, std::int64_t h) {
                  return b == 0 && h / 2 == 1 && sees(c, place, i, j);
                });
          }
        }
      }
    }
  }
}

TEST_CASE("bf16 tiles: every hidden key and value at once, and a query", "[softmax_attention]") {
  for (const masking& m : maskings) {
    for (const std::int64_t T : {3, 40}) {
      const attention_case c = masked_case(m, T, 300);
      check_planted(
          c,
          [&](attention_problem& p) {
            p.q.set({1, T / 2, 2, 5}, infinity);
            for (const sequence_place& s : p.sequences) {
              for (std::int64_t j = 0; j < s.keys; ++j) {
                bool seen = false;
                for (std::int64_t i = 0; i < s.queries; ++i) {
                  seen |= sees(c, s, i, j);
                }
                for (std::int64_t h = 0; !seen && h < c.HK; ++h) {
                  for (std::int64_t d = 0; d < c.D; ++d) {
                    p.k.set({s.batch, j, h, d}, quiet_nan);
                  }
                  for (std::int64_t d = 0; d < c.V; ++d) {
                    p.v.set({s.batch, j, h, d}, d % 2 == 0 ? infinity : quiet_nan);
                  }
                }
              }
            }
          },
          [&](std::int64_t b, std::int64_t i, std::int64_t h) {
            return b == 1 && i == T / 2 && h == 2;
          });
    }
  }
}

TEST_CASE("bf16 tiles: a value's NaN stays in its column", "[softmax_attention]") {
  const attention_calls calls = emulated_calls<float>();
  attention_problem p(with_types(masked_case(maskings[1], 50, 50), calls));
  run(calls, p, {});
  const attention_problem clean = p;
  p.v.set({0, 30, 0, 7}, quiet_nan);
  run(calls, p, {});
  bool right = true;
  p.o.for_each([&](const tensor<4>::index& i) {
    const bool hit = i[0] == 0 && i[2] < 2 && i[1] >= 30 && i[3] == 7;
    right &= hit ? std::isnan(p.o[i]) : p.o.bits(i) == clean.o.bits(i);
  });
  CHECK(right);
}

TEST_CASE("bf16 tiles say what they do not have", "[softmax_attention]") {
  const attention_calls calls = emulated_calls<float>();
  const auto reason = [&](const attention_case& c, const seqmix::context& ctx) {
    attention_problem p(with_types(c, calls));
    const seqmix::dispatch_report r = calls.explain(p, ctx);
    REQUIRE(r.candidates.size() == 1);
    return r.candidates[0].reason;
  };
  attention_case c{.T = 4, .S = 4};
  CHECK(reason(c, {}) == "");
  CHECK(reason(c, {.pin = {.algorithm = "tiled"}}) ==
        "lacks the pinned algorithm (it has bf16_tiles)");
  c.normaliser.weights = seqmix::attention_weights::relu;
  CHECK(reason(c, {}) == "lacks this normaliser (it has softmax)");
}
