// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

#include "support/attention_problem.hpp"
#include "support/catch.hpp"
#include "support/emulated_attention.hpp"
#include "support/emulated_checks.hpp"
#include "support/packed_problem.hpp"

// The Hopper prefill kernel itself, every instance of the library, on an emulated GPU.

using namespace seqmix_test;

namespace {

// Of every configuration of tiles, and two that are padded.
constexpr head_dims all_dims[] = {{64, 64},   {96, 96},   {128, 128}, {192, 128},
                                  {192, 192}, {256, 256}, {72, 40},   {120, 200}};

void check(attention_problem& p, const emulation& how = {}) { check_emulated(run_hopper, p, how); }
void check(const attention_case& c, const emulation& how = {}) {
  attention_problem p(c);
  check(p, how);
}

}  // namespace

TEST_CASE("results are those of the definition, whatever the tiles, masks and forms", "[hopper]") {
  // Heads in packed groups and not; more keys than queries, fewer, and one row of tiles.
  constexpr call_shape shapes[] = {{150, 300, 2, 1}, {300, 150, 1, 1}, {70, 70, 3, 1},
                                   {130, 260, 4, 2}, {257, 129, 2, 2}, {9, 400, 8, 1},
                                   {200, 200, 2, 1}};
  for_each_masking(all_dims, shapes, [](attention_case& c, std::size_t) {
    c.B = c.form == call_form::batched ? 1 : 3;
    check(c, {.seed = c.seed});
  });
}

TEST_CASE("results are those of the definition in cases drawn at random, twice", "[hopper]") {
  constexpr std::int64_t heads[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 2}, {8, 1}, {6, 2}, {16, 1}};
  case_dice dice;
  for (int i = 0; i < 100; ++i) {
    const head_dims& most = all_dims[dice.below(std::size(all_dims))];
    const std::int64_t D = dice.one_of(2) ? most.D : 8 + 8 * dice.below(most.D / 8);
    const std::int64_t V = dice.one_of(2) ? most.V : 8 + 8 * dice.below(most.V / 8);
    const auto& [H, HK] = heads[dice.below(std::size(heads))];
    attention_case c =
        emulated_case(element_types[dice.below(2)], {D, V}, 1 + dice.below(H > 4 ? 100 : 300),
                      dice.below(400), {.causal = dice.one_of(2)});
    c.B = 1 + dice.below(3);
    c.H = H;
    c.HK = HK;
    dice.draw_form(c);
    dice.draw_options(c, 300);
    attention_problem p(c);
    const auto draw = [&] {
      return emulation{.processors = static_cast<int>(1 + dice.below(4)), .seed = dice.random()};
    };
    check(p, draw());
    const output_bits first = bits_of(p);
    run_hopper(p, draw());
    CAPTURE(c);
    CHECK(bits_of(p) == first);
  }
}

TEST_CASE("keys that sequences and heads share by strides of zero", "[hopper]") {
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{192, 128}}) {
    attention_case c = emulated_case(scalar_type::bf16, dims, 100, 300, {.causal = true});
    c.B = 3;
    c.H = 4;
    c.HK = 2;
    c.k = c.v = layout::shared;
    check(c);
  }
}

TEST_CASE("bits depend neither on the number of blocks nor on the order of events", "[hopper]") {
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    for (const call_form form : {call_form::batched, call_form::packed}) {
      attention_case c = emulated_case(scalar_type::bf16, dims, 200, 333, {.causal = true});
      c.H = 4;
      c.HK = 2;
      c.B = form == call_form::batched ? 1 : 3;
      c.form = form;
      attention_problem p(c);
      check(p, {.processors = 1});
      const output_bits expected = bits_of(p);
      for (std::uint64_t seed = 2; seed < 8; ++seed) {
        run_hopper(p, {.processors = static_cast<int>(1 + seed % 3), .seed = seed});
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
        attention_case c = emulated_case(type, dims, 0, 0, {.causal = causal});
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
  check_terms(run_hopper, {{64, 64}, {128, 128}, {256, 256}}, 140);
}

TEST_CASE("a softcap alone, from far below the scores to far above", "[hopper]") {
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    for (const double cap : {0.5, 3.0, 50.0, 5000.0, 1e30}) {
      for (const masking& m : {maskings[0], maskings[1], maskings[4]}) {
        attention_case c = emulated_case(element_types[++seed % 2], dims, 140, 300, m);
        c.softcap = cap;
        c.magnitude = seed % 3 == 0 ? 12 : 2;
        c.sink_logits = seed % 2 == 0;
        c.seed = seed;
        check(c, {.seed = seed});
      }
    }
  }
}

TEST_CASE("a softcap makes products of minus infinity scores like others", "[hopper]") {
  for (const masking& m : {maskings[0], maskings[1]}) {
    attention_case c = emulated_case(scalar_type::bf16, {64, 64}, 140, 300, m);
    c.softcap = 3;
    attention_problem p(c);
    for (std::int64_t row = 0; row < c.T; ++row) {
      for (std::int64_t x = 0; x < c.D; ++x) {
        p.q.set({0, row, 0, x},
                x > 0 || row % 3 == 0 ? 0 : std::numeric_limits<double>::infinity());
      }
    }
    // Rows of minus infinity, of zero, and where every other key of the second tile has infinity.
    for (std::int64_t key = 0; key < c.S; ++key) {
      p.k.set({0, key, 0, 0}, key >= 128 && key < 256 && key % 2 == 0 ? 1 : -1);
    }
    check(p);
  }
}

TEST_CASE("NaN and infinity reach the rows that see them and no other", "[hopper]") {
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    for (const masking& m : {maskings[1], maskings[4]}) {
      attention_case c = emulated_case(element_types[seed % 2], dims, 140, 270, m);
      c.H = 4;
      c.HK = 2;
      check_poisons(run_hopper, c, 70, seed);
    }
    attention_case c = emulated_case(element_types[seed % 2], dims, 140, 270, maskings[1]);
    c.H = 4;
    c.HK = 2;
    c.softcap = 20;
    check_poisons(run_hopper, c, 70, seed);
  }
}
