// SPDX-License-Identifier: Apache-2.0
// The algorithms of the recurrences: each against the oracle, and against each other.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;

namespace {

const recurrence_calls calls = recurrence_calls_for<float>();

const std::string chunks[] = {"chunk<1>",  "chunk<2>",  "chunk<4>",  "chunk<8>",
                              "chunk<16>", "chunk<32>", "chunk<64>", "chunk<128>"};

std::vector<std::string> every_algorithm() {
  std::vector<std::string> all(std::begin(chunks), std::end(chunks));
  for (const char* name : {"recurrent", "chunk", "segmented", "segmented<1>", "segmented<7>",
                           "segmented<32>", "segmented<50>"}) {
    all.emplace_back(name);
  }
  return all;
}

/// Segments know no strengths of each value.
bool takes(const std::string& algorithm, const recurrence_case& c) {
  return !(c.many_betas && has_delta(c.op) && algorithm.starts_with("segmented"));
}

recurrence_case case_of(recurrence op, std::int64_t T, std::uint64_t seed) {
  constexpr std::int64_t dims[] = {8, 20, 64, 33, 100, 128};
  recurrence_case c{.op = op, .B = 2, .T = T, .H = 1, .HV = 2};
  c.seed = seed;
  c.K = dims[mix(seed) % 6];
  c.V = dims[mix(seed + 1) % 6];
  c.packed = mix(seed + 2) % 2 == 0;
  c.initial = mix(seed + 3) % 3 != 0;
  c.final = true;
  c.many_betas = mix(seed + 4) % 4 == 0;
  c.reverse = mix(seed + 5) % 4 == 0;
  constexpr double gates[] = {-0.001, -0.1, -0.5, -2.5, -5, -20, -80};
  c.gate = gates[mix(seed + 6) % 7];
  return c;
}

void check(const recurrence_problem& p, const recurrence_problem& expected,
           const std::string& algorithm) {
  CAPTURE(p.c, algorithm);
  CHECK(verify(p, expected, tolerance_of(scalar_type::f32), tolerance_of(scalar_type::f32)) == "");
}

}  // namespace

TEST_CASE("every algorithm against the oracle", "[matrix_recurrence]") {
  std::uint64_t seed = 7100;
  double worst[3] = {};
  for (const recurrence op : every_recurrence) {
    for (const std::int64_t T : {0, 1, 2, 3, 16, 33, 64, 75, 130}) {
      recurrence_problem p(case_of(op, T, ++seed));
      const recurrence_problem expected = oracle_of(calls, p);
      for (const std::string& algorithm : every_algorithm()) {
        if (takes(algorithm, p.c)) {
          calls.run(p, {.pin = {.algorithm = algorithm}});
          check(p, expected, algorithm);
          double& most = worst[algorithm.starts_with("chunk")       ? 0
                               : algorithm.starts_with("segmented") ? 1
                                                                    : 2];
          most = std::max(most, measure(owned_states(p), owned_states(expected), 0.05).rms);
        }
      }
    }
  }
  std::printf("RMS error of states at most: chunks %.2g, segments %.2g, recurrent %.2g\n", worst[0],
              worst[1], worst[2]);
}

TEST_CASE("f64 and bf16 in chunks and segments", "[matrix_recurrence]") {
  const auto check_type = [](const recurrence_calls& typed) {
    std::uint64_t seed = 7700;
    for (const recurrence op : every_recurrence) {
      recurrence_case c = case_of(op, 75, ++seed);
      c.type = c.output = typed.type;
      recurrence_problem p(c);
      const recurrence_problem expected = oracle_of(typed, p);
      for (const char* algorithm : {"chunk<16>", "chunk<64>", "segmented<20>"}) {
        if (takes(algorithm, c)) {
          typed.run(p, {.pin = {.algorithm = algorithm}});
          CAPTURE(c, algorithm);
          CHECK(verify(p, expected, tolerance_of(typed.type), tolerance_of(scalar_type::f32)) ==
                "");
        }
      }
    }
  };
  check_type(recurrence_calls_for<double>());
  check_type(recurrence_calls_for<seqmix::bf16>());
}

TEST_CASE("segments of every length", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    recurrence_case c{.op = op, .B = 2, .T = 33, .H = 1, .HV = 2, .K = 12, .V = 20};
    c.initial = c.final = true;
    c.packed = op == recurrence::kda;
    recurrence_problem p(c);
    const recurrence_problem expected = oracle_of(calls, p);
    for (std::int64_t length = 1; length <= 33; ++length) {
      const std::string algorithm = "segmented<" + std::to_string(length) + ">";
      calls.run(p, {.pin = {.algorithm = algorithm}});
      check(p, expected, algorithm);
    }
  }
}

TEST_CASE("gates of every strength, mixed, in every algorithm", "[matrix_recurrence]") {
  // Weak gates, every eleventh strong: where exponents as differences of long sums lose the weak.
  const double infinity = std::numeric_limits<double>::infinity();
  for (const recurrence op : {recurrence::gla, recurrence::gdn, recurrence::kda}) {
    for (const double strong : {-0.5, -5.0, -20.0, -1e3, -1e4, -1e6, -infinity}) {
      recurrence_case c{.op = op, .B = 1, .T = 128, .H = 1, .HV = 1, .K = 16, .V = 24};
      c.initial = c.final = true;
      c.gate = -0.1;
      recurrence_problem p(c);
      p.gate.for_each([&](const tensor<4>::index& i) {
        if (i[1] % 11 == 10) {
          p.gate.set(i, strong);
        }
      });
      const recurrence_problem expected = oracle_of(calls, p);
      for (const std::string& algorithm : every_algorithm()) {
        calls.run(p, {.pin = {.algorithm = algorithm}});
        CAPTURE(strong);
        check(p, expected, algorithm);
        CHECK(measure(owned_outputs(p), owned_outputs(expected), 0).rms <= 2e-6);
        CHECK(measure(owned_states(p), owned_states(expected), 0).rms <= 2e-6);
      }
    }
  }
}

TEST_CASE("in every algorithm, bits do not depend on the executor or the packing",
          "[matrix_recurrence][threads]") {
  for (const recurrence op :
       {recurrence::linear, recurrence::gla, recurrence::gdn, recurrence::kda, recurrence::rwkv7}) {
    recurrence_case c{.op = op, .B = 3, .T = 90, .H = 1, .HV = 2, .K = 20, .V = 140};
    c.initial = c.final = c.packed = true;
    recurrence_problem packed(c);
    for (const std::string& algorithm : every_algorithm()) {
      calls.run(packed, {.pin = {.algorithm = algorithm}});
      const recurrence_bits once = bits_of(packed);
      CAPTURE(name(op), algorithm);
      for (const int threads : {2, 5}) {
        pool_executor pool(threads, 3);
        calls.run(packed, {.executor = pool, .pin = {.algorithm = algorithm}});
        CHECK(bits_of(packed) == once);
      }
      for (std::int64_t n = 0; n < 3; ++n) {
        recurrence_problem one = alone(packed, n);
        calls.run(one, {.pin = {.algorithm = algorithm}});
        CHECK(same_bits(one, packed, n));
      }
    }
  }
}

TEST_CASE("a step has the bits of the recurrent algorithm", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    for (const std::int64_t T : {0, 1, 2, 16, 32}) {
      recurrence_case c{.op = op, .B = 3, .T = T, .H = 2, .HV = 4, .K = 40, .V = 100};
      c.initial = c.final = true;
      recurrence_problem p(c);
      calls.run(p, {.pin = {.algorithm = "recurrent"}});
      const recurrence_bits recurrent = bits_of(p);
      calls.run(p, {.pin = {.algorithm = "step"}});
      CAPTURE(name(op), T);
      CHECK(bits_of(p) == recurrent);
      calls.run(p, {});
      CHECK(bits_of(p) == recurrent);
    }
  }
}

TEST_CASE("what was broken before a boundary stays there, in every algorithm",
          "[matrix_recurrence]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr std::int64_t cut = 37;
  for (const recurrence op : {recurrence::gla, recurrence::gdn, recurrence::kda}) {
    recurrence_case c{.op = op, .B = 1, .T = 90, .H = 1, .HV = 2, .K = 20, .V = 24};
    c.initial = c.final = true;
    recurrence_problem clean(c);
    clean.gate.for_each([&](const tensor<4>::index& i) {
      if (i[1] == cut) {
        clean.gate.set(i, -std::numeric_limits<double>::infinity());
      }
    });
    for (const std::string& algorithm : every_algorithm()) {
      calls.run(clean, {.pin = {.algorithm = algorithm}});
      recurrence_problem dirty = clean;
      dirty.k.set({0, 5, 0, 3}, nan);
      dirty.initial.set({0, 0, 7, 1}, nan);
      dirty.q.set({0, 60, 0, 2}, nan);
      dirty.v.set({0, 70, 1, 4}, nan);
      calls.run(dirty, {.pin = {.algorithm = algorithm}});
      bool same = true;
      dirty.o.for_each([&](const tensor<4>::index& i) {
        const bool of_past = i[1] < cut && (i[1] >= 5 || i[2] == 0);
        const bool of_query = i[1] == 60;
        const bool of_value = i[1] >= 70 && i[2] == 1 && i[3] == 4;
        if (of_query || of_value) {
          same = same && std::isnan(dirty.o[i]);
        } else if (!of_past) {
          same = same && dirty.o.bits(i) == clean.o.bits(i);
        }
      });
      CAPTURE(name(op), algorithm);
      CHECK(same);
      CHECK(std::isnan(dirty.o[{0, 20, 0, 0}]));
    }
  }
}

TEST_CASE("denominators and kept states in every algorithm", "[matrix_recurrence]") {
  recurrence_case c{.op = recurrence::linear, .B = 2, .T = 90, .H = 1, .HV = 2, .K = 12, .V = 20};
  c.initial = c.final = true;
  recurrence_problem p(c);
  const auto run = [&](const auto& op, tensor<5>& kept, tensor<3>& z,
                       const std::string& algorithm) {
    seqmix::recurrence_options options = p.options<float>();
    options.features = seqmix::feature_map::elu_plus_1;
    options.normalise = true;
    options.checkpoint_every = 25;
    options.checkpoints = kept.view<float>();
    options.final_normaliser = z.view<float>();
    op(p.q.view<const float>(), p.k.view<const float>(), p.v.view<const float>(), p.o.view<float>(),
       options, seqmix::context{.pin = {.algorithm = algorithm}});
  };
  const tensor<5> empty(scalar_type::f32, {2, 3, 2, 12, 20});
  tensor<5> expected = empty;
  tensor<3> expected_z(scalar_type::f32, {2, 2, 12});
  run(seqmix::linear_attention, expected, expected_z, "recurrent");
  const std::vector<double> outputs = owned_outputs(p);
  for (const std::string& algorithm : every_algorithm()) {
    tensor<5> kept = empty;
    tensor<3> z(scalar_type::f32, {2, 2, 12});
    p.clear_outputs();
    run(seqmix::linear_attention, kept, z, algorithm);
    const tolerance f32 = tolerance_of(scalar_type::f32);
    CAPTURE(algorithm);
    CHECK(compare(owned_outputs(p), outputs, f32, bound::ceiling, 0.05) == "");
    CHECK(compare(kept.values(), expected.values(), f32, bound::ceiling, 0.05) == "");
    CHECK(compare(z.values(), expected_z.values(), f32, bound::ceiling, 0.05) == "");
  }
}

TEST_CASE("pins that no algorithm takes are refused", "[matrix_recurrence]") {
  recurrence_case c{.op = recurrence::gdn, .B = 1, .T = 40, .H = 1, .HV = 1, .K = 8, .V = 8};
  recurrence_problem p(c);
  const auto refuses = [&](const char* algorithm, const char* words) {
    CAPTURE(algorithm);
    const seqmix::error e = error_of([&] { calls.run(p, {.pin = {.algorithm = algorithm}}); });
    CAPTURE(e.what());
    CHECK(std::string(e.what()).find(words) != std::string::npos);
    bool untouched = true;
    p.o.for_each([&](const tensor<4>::index& i) { untouched = untouched && p.o.untouched(i); });
    CHECK(untouched);
  };
  refuses("wave", "it has step, recurrent, chunk<C> and segmented<L>");
  for (const char* odd : {"chunk<", "chunk<>", "chunk<x>", "chunk<8", "chunk<8>>", "chunk<-8>",
                          "segmented<0>", "chunk<99999999999999999999>", "<8>"}) {
    refuses(odd, "it has step, recurrent, chunk<C> and segmented<L>");
  }
  refuses("chunk<3>", "powers of two up to 128");
  refuses("chunk<256>", "powers of two up to 128");
  refuses("recurrent<8>", "chunk<C> and segmented<L> take one");
  refuses("step", "more than 32 tokens");
  c.many_betas = true;
  p = recurrence_problem(c);
  refuses("segmented", "strengths of each value");
}

TEST_CASE("explain names the algorithm", "[matrix_recurrence]") {
  const auto explained = [](std::int64_t T, const char* algorithm) {
    recurrence_case c{.op = recurrence::kda, .B = 1, .T = T, .H = 1, .HV = 1, .K = 8, .V = 8};
    recurrence_problem p(c);
    return with_recurrence<float, float, float>(
        p, [&](const auto& op, const auto&, const auto&... x) {
          return op.explain(x..., seqmix::context{.pin = {.algorithm = algorithm}}).algorithm;
        });
  };
  CHECK(explained(1, "") == "step");
  CHECK(explained(32, "") == "step");
  CHECK(explained(33, "") == "recurrent");
  CHECK(explained(100, "chunk") == "chunk<64>");
  CHECK(explained(100, "chunk<16>") == "chunk<16>");
  CHECK(explained(100, "segmented") == "segmented");
  CHECK(explained(100, "segmented<10>") == "segmented<10>");
}
