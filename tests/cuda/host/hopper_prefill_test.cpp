// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support/attention_problem.hpp"
#include "support/catch.hpp"
#include "support/emulated_attention.hpp"
#include "support/packed_problem.hpp"

// The Hopper prefill kernel itself, every instance of the library, on an emulated GPU.

using namespace seqmix_test;

namespace {

constexpr scalar_type element_types[] = {scalar_type::bf16, scalar_type::f16};

struct head_dims {
  std::int64_t D, V;
};
// Of every configuration of tiles, and two that are padded.
constexpr head_dims all_dims[] = {{64, 64},   {96, 96},   {128, 128}, {192, 128},
                                  {192, 192}, {256, 256}, {72, 40},   {120, 200}};

struct masking {
  bool causal = false;
  seqmix::attention_window window{};
  std::int64_t sinks = 0;
};
constexpr masking maskings[] = {{},
                                {.causal = true},
                                {.window = {.left = 50}},
                                {.window = {.right = 30}},
                                {.window = {.left = 40, .right = 100}, .sinks = 7},
                                {.causal = true, .window = {.left = 60}, .sinks = 140},
                                {.window = {.left = 30, .right = 10}, .sinks = 290}};

attention_case case_of(scalar_type type, const head_dims& n, std::int64_t T, std::int64_t S,
                       const masking& m = {}) {
  attention_case c{.T = T,
                   .S = S,
                   .D = n.D,
                   .V = n.V,
                   .causal = m.causal,
                   .window = m.window,
                   .sinks = m.sinks,
                   .lse = scalar_type::f32};
  c.types = {type, type, type, type, true};
  return c;
}

void check(attention_problem& p, const emulation& how = {}) {
  CAPTURE(p.c, how.processors, how.seed);
  run_emulated(p, how);
  CHECK(verify(p, attention_reference(p), bound::ceiling) == "");
}
void check(const attention_case& c, const emulation& how = {}) {
  attention_problem p(c);
  check(p, how);
}

}  // namespace

TEST_CASE("results are those of the definition, whatever the tiles, masks and forms", "[hopper]") {
  struct shape {
    std::int64_t T, S, H, HK;
  };
  // Heads in packed groups and not; more keys than queries, fewer, and one row of tiles.
  constexpr shape shapes[] = {{150, 300, 2, 1}, {300, 150, 1, 1}, {70, 70, 3, 1},  {130, 260, 4, 2},
                              {257, 129, 2, 2}, {9, 400, 8, 1},   {200, 200, 2, 1}};
  constexpr call_form forms[] = {call_form::batched, call_form::packed, call_form::cached};
  std::size_t n = 0;
  for (const head_dims& dims : all_dims) {
    for (const masking& m : maskings) {
      const shape& s = shapes[n % std::size(shapes)];
      attention_case c = case_of(element_types[n / 2 % 2], dims, s.T, s.S, m);
      c.H = s.H;
      c.HK = s.HK;
      c.form = forms[n % 3];
      c.B = c.form == call_form::batched ? 1 : 3;
      c.seed = ++n;
      check(c, {.seed = n});
    }
  }
}

TEST_CASE("results are those of the definition in cases drawn at random, twice", "[hopper]") {
  constexpr std::int64_t heads[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 2}, {8, 1}, {6, 2}, {16, 1}};
  std::mt19937_64 random(1);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  const auto one_of = [&](std::int64_t n) { return below(n) == 0; };
  for (int i = 0; i < 100; ++i) {
    const head_dims& most = all_dims[below(std::size(all_dims))];
    const std::int64_t D = one_of(2) ? most.D : 8 + 8 * below(most.D / 8);
    const std::int64_t V = one_of(2) ? most.V : 8 + 8 * below(most.V / 8);
    const auto& [H, HK] = heads[below(std::size(heads))];
    attention_case c = case_of(element_types[below(2)], {D, V}, 1 + below(H > 4 ? 100 : 300),
                               below(400), {.causal = one_of(2)});
    c.B = 1 + below(3);
    c.H = H;
    c.HK = HK;
    c.form = std::array{call_form::batched, call_form::packed, call_form::cached}[below(3)];
    c.seed = random() % 1000 + 1;
    c.window.left = one_of(3) ? below(200) : c.window.left;
    c.window.right = one_of(3) ? below(200) : c.window.right;
    c.sinks = one_of(3) ? below(300) : 0;
    c.softcap = one_of(4) ? 3 : 0;
    c.alibi = one_of(4);
    c.sink_logits = one_of(4);
    attention_problem p(c);
    const auto draw = [&] {
      return emulation{.processors = static_cast<int>(1 + below(4)), .seed = random()};
    };
    check(p, draw());
    const output_bits first = bits_of(p);
    run_emulated(p, draw());
    CAPTURE(c);
    CHECK(bits_of(p) == first);
  }
}

TEST_CASE("bits depend neither on the number of blocks nor on the order of events", "[hopper]") {
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    for (const call_form form : {call_form::batched, call_form::packed}) {
      attention_case c = case_of(scalar_type::bf16, dims, 200, 333, {.causal = true});
      c.H = 4;
      c.HK = 2;
      c.B = form == call_form::batched ? 1 : 3;
      c.form = form;
      attention_problem p(c);
      check(p, {.processors = 1});
      const output_bits expected = bits_of(p);
      for (std::uint64_t seed = 2; seed < 8; ++seed) {
        run_emulated(p, {.processors = static_cast<int>(1 + seed % 3), .seed = seed});
        CAPTURE(c, seed);
        CHECK(bits_of(p) == expected);
      }
    }
  }
}

TEST_CASE("sequences of any length side by side, those for decoding left alone", "[hopper]") {
  const std::vector<std::int64_t> q_starts{0, 0, 130, 131, 151, 151, 300, 364};
  const std::vector<std::int64_t> k_starts{0, 40, 240, 240, 300, 310, 310, 500};
  for (const scalar_type type : element_types) {
    for (const head_dims& dims : {head_dims{64, 64}, head_dims{192, 128}}) {
      for (const bool causal : {false, true}) {
        attention_case c = case_of(type, dims, 0, 0, {.causal = causal});
        c.H = 4;
        c.HK = 2;
        attention_problem p = packed_problem(c, q_starts, k_starts);
        check(p);
        std::erase_if(p.sequences, [](const auto& s) { return 2 * s.queries <= 64; });
        check(p, {.decode_rows = 64});
      }
    }
  }
}

TEST_CASE("terms of scores, sink logits, and scales of any sign", "[hopper]") {
  std::uint64_t seed = 0;
  for (const scalar_type type : element_types) {
    for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
      for (const masking& m : {maskings[0], maskings[1], maskings[4]}) {
        attention_case c = case_of(type, dims, 140, 210, m);
        c.H = 4;
        c.HK = 2;
        c.seed = ++seed;
        c.sink_logits = true;
        check(c, {.seed = seed});
        c.alibi = true;
        c.lse = scalar_type::f64;
        check(c, {.seed = seed});
        c.softcap = 2;
        c.magnitude = 4;
        c.form = call_form::packed;
        check(c, {.seed = seed});
      }
      for (const double scale : {-0.7, 0.0}) {
        attention_case c = case_of(type, dims, 140, 210, {.causal = true});
        c.scale = scale / std::sqrt(static_cast<double>(dims.D));
        c.softcap = seed % 2 == 0 ? 3 : 0;
        check(c, {.seed = ++seed});
      }
    }
  }
}

namespace {

/// Runs `p` clean and then with `plant` applied: rows that are not `hit` keep their bits, the
/// others are infinite or NaN where the definition says so.
void check_planted(attention_problem p, const std::function<void(attention_problem&)>& plant,
                   const std::function<bool(std::int64_t row, std::int64_t head)>& hit,
                   std::uint64_t seed) {
  run_emulated(p);
  const attention_problem clean = p;
  plant(p);
  run_emulated(p, {.seed = seed});
  const attention_reference expected(p);
  std::int64_t moved = 0;
  std::int64_t wrong = 0;
  std::size_t at = 0;
  p.o.for_each([&](const tensor<4>::index& i) {
    const double reference = expected.o[at++];
    if (hit(i[1], i[2])) {
      wrong +=
          std::isnan(reference) != std::isnan(p.o[i]) || std::isinf(reference) != std::isinf(p.o[i])
              ? 1
              : 0;
    } else {
      moved += p.o.bits(i) != clean.o.bits(i) ? 1 : 0;
    }
  });
  p.lse.for_each([&](const tensor<3>::index& i) {
    moved += !hit(i[2], i[1]) && p.lse.bits(i) != clean.lse.bits(i) ? 1 : 0;
  });
  CAPTURE(p.c, seed);
  CHECK(moved == 0);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("NaN and infinity reach the rows that see them and no other", "[hopper]") {
  constexpr double poisons[] = {std::numeric_limits<double>::quiet_NaN(), infinity, -infinity};
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    for (const masking& m : {maskings[1], maskings[4]}) {
      attention_case c = case_of(element_types[seed % 2], dims, 140, 270, m);
      c.H = 4;
      c.HK = 2;
      const attention_problem p(c);
      for (const bool in_key : {false, true}) {
        // In a tile that is seen whole, in one that is not, and in the last.
        for (const std::int64_t j : {std::int64_t{3}, std::int64_t{200}, c.S - 1}) {
          const double poison = poisons[++seed % 3];
          check_planted(
              p, [&](attention_problem& x) { (in_key ? x.k : x.v).set({0, j, 1, 5}, poison); },
              [&](std::int64_t row, std::int64_t head) {
                return head / 2 == 1 && sees(c, p.sequences[0], row, j);
              },
              seed);
        }
      }
      check_planted(
          p, [&](attention_problem& x) { x.q.set({0, 70, 2, 5}, infinity); },
          [](std::int64_t row, std::int64_t head) { return row == 70 && head == 2; }, seed);
      // Many in one tile, of which neighbouring rows see different ones.
      check_planted(
          p,
          [&](attention_problem& x) {
            for (std::int64_t j = 150; j < 215; j += 3) {
              x.v.set({0, j, 0, j % c.V}, poisons[j % 2]);
            }
          },
          [&](std::int64_t row, std::int64_t head) {
            bool any = false;
            for (std::int64_t j = 150; j < 215; j += 3) {
              any |= sees(c, p.sequences[0], row, j);
            }
            return head / 2 == 0 && any;
          },
          seed);
    }
  }
}
