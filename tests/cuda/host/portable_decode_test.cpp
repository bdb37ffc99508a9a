// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

#include "support/attention_problem.hpp"
#include "support/catch.hpp"
#include "support/emulated_attention.hpp"
#include "support/emulated_checks.hpp"
#include "support/packed_problem.hpp"

// The portable decode kernel itself, every instance of the library, on an emulated GPU: alone, and
// where prefill takes the longer sequences of one call.

using namespace seqmix_test;

namespace {

constexpr std::int32_t library_rows = 64;
constexpr std::int32_t any_number = std::numeric_limits<std::int32_t>::max();

constexpr head_dims all_dims[] = {{64, 64},   {96, 96}, {128, 128}, {192, 192},
                                  {256, 256}, {72, 40}, {120, 200}, {100, 37}};
constexpr layout all_layouts[] = {layout::dense,     layout::dense,      layout::head_first,
                                  layout::strided,   layout::padded,     layout::reversed,
                                  layout::broadcast, layout::misaligned, layout::broadcast_time};

void check(attention_problem& p, std::uint64_t seed, std::int32_t decode_rows = library_rows) {
  check_emulated(run_portable, p, {.seed = seed, .decode_rows = decode_rows});
}
void check(const attention_case& c, std::uint64_t seed, std::int32_t decode_rows = library_rows) {
  attention_problem p(c);
  check(p, seed, decode_rows);
}

void run_apart(attention_problem& p, const emulation& how) {
  emulation splits = how;
  splits.apart = true;
  run_portable(p, splits);
}

/// With 1, 4, 9, 16, 40 and 64 rows a KV head.
constexpr call_shape shapes[] = {{1, 300, 2, 2}, {1, 257, 4, 1},  {3, 130, 6, 2}, {4, 400, 8, 2},
                                 {1, 5, 1, 1},   {40, 250, 1, 1}, {4, 190, 16, 1}};

}  // namespace

TEST_CASE("results are those of the definition, whatever the tiles, masks and forms",
          "[portable]") {
  for_each_masking(all_dims, shapes, [](attention_case& c, std::size_t) {
    c.B = 3;
    check(c, c.seed);
    // More rows than the library decodes.
    c.T *= 5;
    check(c, c.seed, any_number);
  });
}

TEST_CASE("results are those of the definition in cases drawn at random, twice", "[portable]") {
  case_dice dice;
  const auto any_layout = [&] {
    return dice.one_of(2) ? layout::dense : all_layouts[dice.below(std::size(all_layouts))];
  };
  for (int i = 0; i < 150; ++i) {
    const head_dims& most = all_dims[dice.below(std::size(all_dims))];
    const call_shape& s = shapes[dice.below(std::size(shapes))];
    const std::int64_t D = dice.one_of(2) ? most.D : 1 + dice.below(most.D);
    const std::int64_t V = dice.one_of(2) ? most.V : 1 + dice.below(most.V);
    attention_case c = emulated_case(element_types[dice.below(2)], {D, V}, s.T, dice.below(400),
                                     {.causal = dice.one_of(2)});
    c.B = 1 + dice.below(3);
    c.H = s.H;
    c.HK = s.HK;
    dice.draw_form(c);
    dice.draw_options(c, 300);
    c.lse = dice.one_of(2) ? scalar_type::f32 : scalar_type::f64;
    c.q = any_layout();
    c.k = any_layout();
    c.v = any_layout();
    c.o = dice.one_of(2) ? layout::dense : dice.one_of(2) ? layout::strided : layout::misaligned;
    attention_problem p(c);
    check(p, dice.random());
    const output_bits first = bits_of(p);
    run_portable(p, {.seed = dice.random(),
                     .decode_rows = library_rows,
                     .apart = c.form != call_form::packed && dice.one_of(2)});
    CAPTURE(c);
    CHECK(bits_of(p) == first);
  }
}

TEST_CASE("splits that blocks take apart have the bits of one block that takes them all",
          "[portable]") {
  // 1, 8, 16 and 40 rows a KV head; a sequence of one split among others.
  constexpr call_shape long_shapes[] = {
      {1, 1100, 2, 2}, {2, 700, 8, 2}, {4, 900, 4, 1}, {40, 1600, 1, 1}};
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{100, 37},
                                head_dims{192, 128}, head_dims{256, 256}}) {
    for (const call_shape& shape : long_shapes) {
      attention_case c = emulated_case(element_types[seed % 2], dims, shape.T, shape.S,
                                       maskings[seed % std::size(maskings)]);
      c.B = 2;
      c.H = shape.H;
      c.HK = shape.HK;
      c.form = seed % 3 == 0 ? call_form::cached : call_form::batched;
      c.sink_logits = seed % 4 == 0;
      c.seed = ++seed;
      attention_problem p(c);
      check(p, seed);
      const output_bits expected = bits_of(p);
      check_emulated(run_portable, p,
                     {.seed = seed + 1, .decode_rows = library_rows, .apart = true});
      CAPTURE(c);
      CHECK(bits_of(p) == expected);
    }
  }
}

TEST_CASE("axes of one entry may have any stride", "[portable]") {
  for (const std::int64_t T : {1, 70}) {
    attention_case c = emulated_case(scalar_type::f16, {23, 8}, T, T, {.causal = true});
    c.q = c.k = c.v = layout::dense;
    check(c, 1);
  }
}

TEST_CASE("bits depend neither on the order of events nor on how rows are loaded", "[portable]") {
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{128, 128}, head_dims{256, 256}}) {
    attention_case c = emulated_case(scalar_type::bf16, dims, 4, 333, {.causal = true});
    c.H = 8;
    c.HK = 2;
    attention_problem p(c);
    check(p, 1);
    const output_bits expected = bits_of(p);
    for (std::uint64_t seed = 2; seed < 8; ++seed) {
      run_portable(p, {.seed = seed, .decode_rows = library_rows});
      CAPTURE(c, seed);
      CHECK(bits_of(p) == expected);
    }
    c.q = c.k = c.v = layout::misaligned;
    attention_problem slowly(c);
    run_portable(slowly, {.decode_rows = library_rows});
    CHECK(bits_of(slowly) == expected);
  }
}

TEST_CASE("each sequence of a packed call goes to one kernel, as it would alone", "[portable]") {
  // 1, 0, 32, 33, 130 and 2 queries, of pairs of heads; and one without keys.
  const std::vector<std::int64_t> q_starts{0, 1, 1, 33, 66, 196, 198, 201};
  const std::vector<std::int64_t> k_starts{0, 140, 150, 190, 290, 430, 600, 600};
  for (const scalar_type type : element_types) {
    for (const head_dims& dims : {head_dims{64, 64}, head_dims{192, 128}, head_dims{40, 37}}) {
      for (const bool causal : {false, true}) {
        attention_case c = emulated_case(type, dims, 0, 0, {.causal = causal});
        c.H = 4;
        c.HK = 2;
        attention_problem p = packed_problem(c, q_starts, k_starts);
        check(p, 1);
        for (const sequence_place& s : p.sequences) {
          if (s.queries > 0) {
            attention_problem one = alone(p, s);
            run_portable(one, {.seed = 2, .decode_rows = library_rows});
            CAPTURE(c, s.queries, s.keys);
            CHECK(bits_of(one, one.sequences[0]) == bits_of(p, s));
          }
        }
        std::erase_if(p.sequences, [](const auto& x) { return 2 * x.queries <= library_rows; });
        check_emulated(run_portable, p, {.seed = 3, .decode_rows = library_rows, .decode = false});
      }
    }
  }
}

TEST_CASE("scales of any sign, and weights that differ between warps by all that floats hold",
          "[portable]") {
  std::uint64_t seed = 0;
  for (const scalar_type type : element_types) {
    for (const head_dims& dims : {head_dims{64, 64}, head_dims{256, 256}}) {
      for (const double scale : {-0.7, 0.0, 20.0}) {
        attention_case c = emulated_case(type, dims, 4, 210, {.causal = true});
        c.H = 8;
        c.HK = 2;
        c.scale = scale / std::sqrt(static_cast<double>(dims.D));
        c.softcap = seed % 2 == 0 ? 3 : 0;
        check(c, ++seed);
      }
    }
  }
}

TEST_CASE("NaN and infinity reach the rows that see them and no other", "[portable]") {
  std::uint64_t seed = 0;
  for (const head_dims& dims : {head_dims{64, 64}, head_dims{256, 256}}) {
    for (const masking& m : {maskings[1], maskings[4]}) {
      attention_case c = emulated_case(element_types[seed % 2], dims, 30, 240, m);
      c.H = 4;
      c.HK = 2;
      check_poisons(run_portable, c, 7, seed, library_rows);
      // In several splits, which one block takes, and which have blocks of their own.
      c.T = 8;
      c.S = 600;
      check_poisons(run_portable, c, 7, seed, library_rows);
      check_poisons(run_apart, c, 7, seed, library_rows);
    }
  }
}
