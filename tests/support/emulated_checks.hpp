// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <random>

#include "attention_problem.hpp"
#include "catch.hpp"
#include "emulated_attention.hpp"

// What tests of kernels on the emulated GPU share.

namespace seqmix_test {

inline constexpr scalar_type element_types[] = {scalar_type::bf16, scalar_type::f16};

struct head_dims {
  std::int64_t D, V;
};

struct masking {
  bool causal = false;
  seqmix::attention_window window{};
  std::int64_t sinks = 0;
};
inline constexpr masking maskings[] = {{},
                                       {.causal = true},
                                       {.window = {.left = 50}},
                                       {.window = {.right = 30}},
                                       {.window = {.left = 40, .right = 100}, .sinks = 7},
                                       {.causal = true, .window = {.left = 60}, .sinks = 140},
                                       {.window = {.left = 30, .right = 10}, .sinks = 290}};

inline attention_case emulated_case(scalar_type type, const head_dims& n, std::int64_t T,
                                    std::int64_t S, const masking& m = {}) {
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

inline constexpr call_form emulated_forms[] = {call_form::batched, call_form::packed,
                                               call_form::cached};

struct call_shape {
  std::int64_t T, S, H, HK;
};

/// Every masking over heads of every kind, shapes, types and forms in turn: `f(case, n)` for case
/// n.
template <class Dims, class Shapes, class F>
void for_each_masking(const Dims& all_dims, const Shapes& shapes, F&& f) {
  std::size_t n = 0;
  for (const head_dims& dims : all_dims) {
    for (const masking& m : maskings) {
      const call_shape& s = shapes[n % std::size(shapes)];
      attention_case c = emulated_case(element_types[n / 2 % 2], dims, s.T, s.S, m);
      c.H = s.H;
      c.HK = s.HK;
      c.form = emulated_forms[n % 3];
      c.seed = n + 1;
      f(c, n++);
    }
  }
}

/// Draws cases, the same ones each time.
struct case_dice {
  std::mt19937_64 random{1};

  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  }
  bool one_of(std::int64_t n) { return below(n) == 0; }
  void draw_form(attention_case& c) { c.form = emulated_forms[below(3)]; }
  /// The seed, windows, up to `most_sinks` sink tokens, and terms of scores.
  void draw_options(attention_case& c, std::int64_t most_sinks) {
    c.seed = random() % 1000 + 1;
    c.window.left = one_of(3) ? below(200) : c.window.left;
    c.window.right = one_of(3) ? below(200) : c.window.right;
    c.sinks = one_of(3) ? below(most_sinks) : 0;
    c.softcap = one_of(4) ? 3 : 0;
    c.alibi = one_of(4);
    c.sink_logits = one_of(4);
  }
};

using emulated_run = void (*)(attention_problem&, const emulation&);

inline void check_emulated(emulated_run run, attention_problem& p, const emulation& how) {
  CAPTURE(p.c, how.processors, how.seed, how.decode_rows);
  run(p, how);
  CHECK(verify(p, attention_reference(p), bound::ceiling) == "");
}

/// Terms of scores over `queries` queries, and scales of any sign.
inline void check_terms(emulated_run run, std::initializer_list<head_dims> all_dims,
                        std::int64_t queries) {
  std::uint64_t seed = 0;
  const auto check = [&](const attention_case& c) {
    attention_problem p(c);
    check_emulated(run, p, {.seed = seed});
  };
  for (const scalar_type type : element_types) {
    for (const head_dims& dims : all_dims) {
      for (const masking& m : {maskings[0], maskings[1], maskings[4]}) {
        attention_case c = emulated_case(type, dims, queries, 210, m);
        c.H = 4;
        c.HK = 2;
        c.seed = ++seed;
        c.sink_logits = true;
        check(c);
        c.alibi = true;
        c.lse = scalar_type::f64;
        check(c);
        c.softcap = 2;
        c.magnitude = 4;
        c.form = call_form::packed;
        check(c);
      }
      for (const double scale : {-0.7, 0.0}) {
        attention_case c = emulated_case(type, dims, 140, 210, {.causal = true});
        c.scale = scale / std::sqrt(static_cast<double>(dims.D));
        c.softcap = seed % 2 == 0 ? 3 : 0;
        ++seed;
        check(c);
      }
    }
  }
}

/// Runs `p` clean and then with `plant` applied: rows that are not `hit` keep their bits, the
/// others are infinite or NaN where the definition says so.
inline void check_planted(emulated_run run, attention_problem p, const emulation& how,
                          const std::function<void(attention_problem&)>& plant,
                          const std::function<bool(std::int64_t row, std::int64_t head)>& hit) {
  run(p, {.decode_rows = how.decode_rows});
  const attention_problem clean = p;
  plant(p);
  run(p, how);
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
  CAPTURE(p.c, how.seed, how.decode_rows);
  CHECK(moved == 0);
  CHECK(wrong == 0);
}

/// Plants NaN and infinities one after the other in batched calls of four query heads over two KV
/// heads, with 215 keys or more. `row` is the query that gets one.
inline void check_poisons(emulated_run run, const attention_case& c, std::int64_t row,
                          std::uint64_t& seed, std::int32_t decode_rows = 0) {
  constexpr double poisons[] = {std::numeric_limits<double>::quiet_NaN(), infinity, -infinity};
  const attention_problem p(c);
  const auto how = [&] { return emulation{.seed = seed, .decode_rows = decode_rows}; };
  for (const bool in_key : {false, true}) {
    // In a tile that is seen whole, in one that is not, and in the last.
    for (const std::int64_t j : {std::int64_t{3}, std::int64_t{200}, c.S - 1}) {
      const double poison = poisons[++seed % 3];
      check_planted(
          run, p, how(),
          [&](attention_problem& x) { (in_key ? x.k : x.v).set({0, j, 1, 5}, poison); },
          [&](std::int64_t i, std::int64_t head) {
            return head / 2 == 1 && sees(c, p.sequences[0], i, j);
          });
    }
  }
  check_planted(
      run, p, how(), [&](attention_problem& x) { x.q.set({0, row, 2, 5}, infinity); },
      [&](std::int64_t i, std::int64_t head) { return i == row && head == 2; });
  // Many in one tile, of which neighbouring rows see different ones.
  check_planted(
      run, p, how(),
      [&](attention_problem& x) {
        for (std::int64_t j = 150; j < 215; j += 3) {
          x.v.set({0, j, 0, j % c.V}, poisons[j % 2]);
        }
      },
      [&](std::int64_t i, std::int64_t head) {
        bool any = false;
        for (std::int64_t j = 150; j < 215; j += 3) {
          any |= sees(c, p.sequences[0], i, j);
        }
        return head / 2 == 0 && any;
      });
}

}  // namespace seqmix_test
