// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <iterator>

#include "support/attention_problem.hpp"
#include "support/catch.hpp"
#include "support/emulated_attention.hpp"
#include "support/emulated_checks.hpp"

// The portable prefill kernel itself, every instance of the library, on an emulated GPU.

using namespace seqmix_test;

namespace {

// Of every width, and two that are padded.
constexpr head_dims all_dims[] = {{64, 64},   {96, 96}, {128, 128}, {192, 192},
                                  {256, 256}, {72, 40}, {120, 200}};

void check(attention_problem& p, const emulation& how = {}) {
  check_emulated(run_portable, p, how);
}
void check(const attention_case& c, const emulation& how = {}) {
  attention_problem p(c);
  check(p, how);
}

struct layouts {
  layout q, k, v, o;
  void give(attention_case& c) const {
    c.q = q;
    c.k = k;
    c.v = v;
    c.o = o;
  }
};
/// Of which some tensor cannot be read in chunks of 16 bytes.
constexpr layouts slow[] = {
    {layout::strided, layout::strided, layout::strided, layout::strided},
    {layout::reversed, layout::reversed, layout::reversed, layout::reversed},
    {layout::misaligned, layout::dense, layout::dense, layout::misaligned},
    {layout::dense, layout::broadcast, layout::dense, layout::dense},
    {layout::head_first, layout::head_first, layout::misaligned, layout::head_first},
    {layout::dense, layout::padded, layout::broadcast_time, layout::padded}};
constexpr layouts fast[] = {
    {layout::dense, layout::dense, layout::dense, layout::dense},
    {layout::head_first, layout::head_first, layout::head_first, layout::head_first},
    {layout::dense, layout::head_first, layout::dense, layout::strided},
    {layout::head_first, layout::dense, layout::dense, layout::reversed}};

}  // namespace

TEST_CASE("results are those of the definition, whatever the tiles, masks and forms",
          "[portable]") {
  // More keys than queries, fewer, one more than tiles hold, and fewer than one holds.
  constexpr call_shape shapes[] = {{150, 300, 2, 1}, {260, 150, 1, 1}, {65, 129, 3, 1},
                                   {129, 65, 4, 2},  {9, 400, 2, 1},   {40, 30, 2, 2}};
  for_each_masking(all_dims, shapes, [](attention_case& c, std::size_t n) {
    c.B = c.form == call_form::batched ? 1 : 2;
    fast[n % std::size(fast)].give(c);
    check(c, {.seed = c.seed});
  });
}

TEST_CASE("results are those of the definition where rows are loaded element by element",
          "[portable]") {
  constexpr head_dims dims[] = {{64, 64}, {96, 96}, {128, 128}, {192, 192}, {256, 256}, {100, 37}};
  constexpr call_shape shapes[] = {
      {70, 140, 2, 1}, {140, 70, 2, 2}, {9, 200, 3, 1}, {65, 65, 1, 1}};
  std::size_t n = 0;
  for (const layouts& l : slow) {
    for (const head_dims& d : dims) {
      const call_shape& s = shapes[n % std::size(shapes)];
      attention_case c =
          emulated_case(element_types[n % 2], d, s.T, s.S, maskings[n % std::size(maskings)]);
      c.H = s.H;
      c.HK = s.HK;
      c.form = emulated_forms[n % 3];
      c.B = 2;
      c.softcap = n % 5 == 0 ? 3 : 0;
      c.alibi = n % 4 == 0;
      c.lse = n % 2 == 0 ? scalar_type::f32 : scalar_type::f64;
      l.give(c);
      c.seed = ++n;
      check(c, {.seed = n});
    }
  }
  for (const scalar_type type : element_types) {
    attention_case c = emulated_case(type, {1, 7}, 70, 70);
    check(c);
  }
}

TEST_CASE("results are those of the definition in cases drawn at random, twice", "[portable]") {
  constexpr std::int64_t heads[][2] = {{1, 1}, {2, 1}, {3, 1}, {4, 2}, {6, 2}};
  case_dice dice;
  for (int i = 0; i < 60; ++i) {
    const head_dims& most = all_dims[dice.below(std::size(all_dims))];
    const std::int64_t D = dice.one_of(2) ? most.D : 8 + 8 * dice.below(most.D / 8);
    const std::int64_t V = dice.one_of(2) ? most.V : 1 + dice.below(most.V);
    const auto& [H, HK] = heads[dice.below(std::size(heads))];
    attention_case c =
        emulated_case(element_types[dice.below(2)], {D, V}, 1 + dice.below(H > 2 ? 100 : 200),
                      dice.below(250), {.causal = dice.one_of(2)});
    c.B = 1 + dice.below(2);
    c.H = H;
    c.HK = HK;
    dice.draw_form(c);
    dice.draw_options(c, 200);
    if (dice.one_of(3)) {
      slow[dice.below(std::size(slow))].give(c);
    }
    attention_problem p(c);
    check(p, {.seed = dice.random()});
    const output_bits first = bits_of(p);
    run_portable(p, {.seed = dice.random()});
    CAPTURE(c);
    CHECK(bits_of(p) == first);
  }
}

TEST_CASE("bits depend neither on the order of events nor on how rows are loaded", "[portable]") {
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    attention_case c = emulated_case(scalar_type::bf16, dims, 140, 210, {.causal = true});
    c.H = 2;
    c.window.left = 90;
    attention_problem p(c);
    check(p);
    const output_bits expected = bits_of(p);
    for (std::uint64_t seed = 2; seed < 8; ++seed) {
      run_portable(p, {.seed = seed});
      CAPTURE(c, seed);
      CHECK(bits_of(p) == expected);
    }
    c.q = c.k = c.v = layout::misaligned;
    attention_problem slowly(c);
    run_portable(slowly);
    CHECK(bits_of(slowly) == expected);
  }
}

TEST_CASE("terms of scores, sink logits, and scales of any sign", "[portable]") {
  check_terms(run_portable, {{64, 64}, {256, 256}}, 70);
}

TEST_CASE("NaN and infinity reach the rows that see them and no other", "[portable]") {
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{256, 256}}) {
    for (const masking& m : {maskings[1], maskings[4]}) {
      attention_case c = emulated_case(element_types[seed % 2], dims, 100, 240, m);
      c.H = 4;
      c.HK = 2;
      check_poisons(run_portable, c, 70, seed);
    }
  }
  attention_case c = emulated_case(scalar_type::f16, {128, 128}, 100, 240, maskings[1]);
  c.H = 4;
  c.HK = 2;
  c.k = c.v = layout::strided;
  check_poisons(run_portable, c, 70, seed);
}
