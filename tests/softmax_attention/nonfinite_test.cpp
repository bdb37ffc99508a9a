// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"

// A NaN or an infinity reaches the rows that see it and no other: those keep their bits.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

constexpr masking maskings[] = {{"none", false, {}, 0},
                                {"causal", true, {}, 0},
                                {"window", false, {.left = 9, .right = 4}, 0},
                                {"window and sinks", true, {.left = 9}, 3},
                                {"all terms", true, {}, 0, true}};

/// Runs `p` clean and then with `plant` applied. Rows for which `hit(b, t, h)` is false must keep
/// their bits; the others must match the reference in kind: NaN, infinite or finite.
void check_planted(const attention_calls& calls, attention_problem& p, const execution& e,
                   const std::function<void(attention_problem&)>& plant,
                   const std::function<bool(std::int64_t, std::int64_t, std::int64_t)>& hit) {
  run(calls, p, e);
  const attention_problem clean = p;
  plant(p);
  const std::string scratch = run(calls, p, e);
  const attention_reference expected(p, hit);
  const std::vector<char> owned = p.owned_rows();
  std::size_t at = 0;
  std::string text = scratch;
  p.o.for_each([&](const tensor<4>::index& i) {
    const double reference = expected.o[at++];
    if (owned[static_cast<std::size_t>(i[1])] == 0) {
      return;
    }
    if (!hit(i[0], i[1], i[2])) {
      if (p.o.bits(i) != clean.o.bits(i) && text.empty()) {
        text = "row " + std::to_string(i[0]) + " " + std::to_string(i[1]) + " " +
               std::to_string(i[2]) + " sees nothing of it and changed";
      }
    } else if (std::isnan(reference) != std::isnan(p.o[i]) && text.empty()) {
      text = "row " + std::to_string(i[0]) + " " + std::to_string(i[1]) + " " +
             std::to_string(i[2]) + " is " + std::to_string(p.o[i]) + ", the reference " +
             std::to_string(reference);
    }
  });
  at = 0;
  p.lse.for_each([&](const tensor<3>::index& i) {
    const double reference = expected.lse[at++];
    if (owned[static_cast<std::size_t>(i[2])] == 0) {
      return;
    }
    const bool wrong = hit(i[0], i[2], i[1]) ? std::isnan(reference) != std::isnan(p.lse[i])
                                             : p.lse.bits(i) != clean.lse.bits(i);
    if (wrong && text.empty()) {
      text = "lse of row " + std::to_string(i[0]) + " " + std::to_string(i[2]) + " " +
             std::to_string(i[1]) + " is " + std::to_string(p.lse[i]) + ", the reference " +
             std::to_string(reference);
    }
  });
  if (!text.empty()) {
    CAPTURE(p.c, e);
    FAIL_CHECK(text);
  }
}

attention_case case_with(const attention_calls& calls, const masking& m,
                         const head_dims& n = target::dims({20, 18})[0]) {
  attention_case c{.B = 2, .H = 4, .HK = 2, .D = n.D, .V = n.V, .lse = scalar_type::f32};
  m.apply(c);
  c.types = calls.types;
  return c;
}

struct size {
  std::int64_t T, S;
};
std::vector<size> sizes() {
  return target::sizes(
      {size{3, 40}, size{30, 30}, size{70, 300}, size{40, 20}},
      {size{3, 40}, size{8, 700}, size{30, 30}, size{70, 300}, size{130, 190}, size{40, 20}});
}

std::vector<attention_calls> all_calls() {
  return target::calls<element_types<float>, element_types<bf16>>();
}

std::vector<algorithm> forced() {
  return target::algorithms({algorithm::tiled, algorithm::split_kv, algorithm::naive});
}

template <class F>
void for_each_setting(F&& f) {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const size& n : sizes()) {
        for (const head_dims& dims : target::dims({20, 18})) {
          for (const algorithm how : forced()) {
            attention_case c = case_with(calls, m, dims);
            c.T = n.T;
            c.S = n.S;
            attention_problem p(c);
            if (can_run(p, how)) {
              CAPTURE(m.name, name(how), n.T, n.S);
              f(calls, p, how);
            }
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("a non-finite query reaches its own row only", "[softmax_attention]") {
  for_each_setting([](const attention_calls& calls, attention_problem& p, algorithm how) {
    for (const double poison : {quiet_nan, infinity, -infinity}) {
      for (const std::int64_t t : {std::int64_t{0}, p.c.T / 2, p.c.T - 1}) {
        attention_problem copy = p;
        check_planted(
            calls, copy, {.how = how}, [&](attention_problem& x) { x.q.set({1, t, 2, 5}, poison); },
            [&](std::int64_t b, std::int64_t i, std::int64_t h) {
              return b == 1 && i == t && h == 2;
            });
      }
    }
  });
  SUCCEED();
}

TEST_CASE("a non-finite key or value reaches the rows that see it only", "[softmax_attention]") {
  for_each_setting([](const attention_calls& calls, attention_problem& p, algorithm how) {
    for (const double poison : {quiet_nan, infinity}) {
      for (const bool in_key : {true, false}) {
        for (const std::int64_t j : {std::int64_t{0}, std::int64_t{2}, p.c.S / 2, p.c.S - 1}) {
          attention_problem copy = p;
          const sequence_place s = p.sequences[0];
          check_planted(
              calls, copy, {.how = how},
              [&](attention_problem& x) { (in_key ? x.k : x.v).set({0, j, 1, 3}, poison); },
              [&](std::int64_t b, std::int64_t i, std::int64_t h) {
                return b == 0 && h / 2 == 1 && sees(p.c, s, i, j);
              });
        }
      }
    }
  });
  SUCCEED();
}

TEST_CASE("a value's NaN stays in its column", "[softmax_attention]") {
  for (const algorithm how : forced()) {
    for (const attention_calls& calls : target::calls<element_types<float>>()) {
      attention_case c = case_with(calls, maskings[1]);
      c.T = c.S = 50;
      attention_problem p(c);
      run(calls, p, {.how = how});
      const attention_problem clean = p;
      p.v.set({0, 30, 0, 7}, quiet_nan);
      run(calls, p, {.how = how});
      bool right = true;
      p.o.for_each([&](const tensor<4>::index& i) {
        const bool hit = i[0] == 0 && i[2] < 2 && i[1] >= 30 && i[3] == 7;
        right &= hit ? std::isnan(p.o[i]) : p.o.bits(i) == clean.o.bits(i);
      });
      CAPTURE(name(how));
      CHECK(right);
    }
  }
}

TEST_CASE("every masked key and value at once", "[softmax_attention]") {
  // All that no row of a sequence sees is NaN: the results keep their bits.
  for_each_setting([](const attention_calls& calls, attention_problem& p, algorithm how) {
    check_planted(
        calls, p, {.how = how},
        [&](attention_problem& x) {
          for (const sequence_place& s : p.sequences) {
            for (std::int64_t j = 0; j < s.keys; ++j) {
              bool seen = false;
              for (std::int64_t i = 0; i < s.queries; ++i) {
                seen |= sees(p.c, s, i, j);
              }
              for (std::int64_t h = 0; !seen && h < p.c.HK; ++h) {
                for (std::int64_t d = 0; d < p.c.D; ++d) {
                  x.k.set({s.batch, s.k_begin + j, h, d}, quiet_nan);
                }
                for (std::int64_t d = 0; d < p.c.V; ++d) {
                  x.v.set({s.batch, s.k_begin + j, h, d}, infinity);
                }
              }
            }
          }
        },
        [](std::int64_t, std::int64_t, std::int64_t) { return false; });
  });
  SUCCEED();
}

TEST_CASE("a batch entry full of NaN leaves the others alone", "[softmax_attention][threads]") {
  for_each_setting([](const attention_calls& calls, attention_problem& p, algorithm how) {
    check_planted(
        calls, p, {.how = how, .threads = 2},
        [&](attention_problem& x) {
          for (tensor<4>* t : {&x.q, &x.k, &x.v}) {
            t->for_each([&](const tensor<4>::index& i) {
              if (i[0] == 0) {
                t->set(i, quiet_nan);
              }
            });
          }
        },
        [](std::int64_t b, std::int64_t, std::int64_t) { return b == 0; });
  });
  SUCCEED();
}

TEST_CASE("rows past the lengths, and between packed sequences, are never read into a result",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const call_form form : {call_form::packed, call_form::cached}) {
      for (const masking& m : maskings) {
        for (const size& n : target::sizes({size{2, 90}, size{50, 70}},
                                           {size{2, 90}, size{50, 70}, size{130, 140}})) {
          for (const std::uint64_t seed : {1u, 3u, 5u}) {  // odd: packed sequences with lengths
            attention_case c = case_with(calls, m);
            c.B = 4;
            c.T = n.T;
            c.S = n.S;
            c.form = form;
            c.seed = seed;
            attention_problem p(c);
            check_planted(
                calls, p, {},
                [&](attention_problem& x) {
                  for (tensor<4>* t : {&x.k, &x.v}) {
                    t->for_each([&](const tensor<4>::index& i) {
                      bool used = false;
                      for (const sequence_place& s : p.sequences) {
                        used |= s.batch == i[0] && i[1] >= s.k_begin && i[1] < s.k_begin + s.keys;
                      }
                      if (!used) {
                        t->set(i, i[3] % 2 == 0 ? quiet_nan : infinity);
                      }
                    });
                  }
                },
                [](std::int64_t, std::int64_t, std::int64_t) { return false; });
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("what lies between the elements of an input is never read into a result",
          "[softmax_attention]") {
  // Every tensor's gaps hold NaN; the same numbers without gaps give the same bits, or at least
  // right ones where bits depend on the layout.
  for (const attention_calls& calls : all_calls()) {
    for (const size& n : sizes()) {
      attention_case c = case_with(calls, maskings[1]);
      c.T = n.T;
      c.S = n.S;
      attention_problem dense(c);
      run(calls, dense, {});
      const attention_reference expected(dense);
      for (const layout kind : {layout::padded, layout::strided, layout::reversed,
                                layout::head_first, layout::misaligned}) {
        c.q = c.k = c.v = c.o = kind;
        attention_problem p(c);
        run(calls, p, {});
        CAPTURE(c);
        CHECK(verify(p, expected) == "");
        if (target::alike(kind) == layout::dense) {
          CHECK((bits_of(p) == bits_of(dense)));
        }
      }
    }
  }
}

TEST_CASE("infinite scores of one sign", "[softmax_attention]") {
  // A key whose score is minus infinity weighs nothing; plus infinity makes its row NaN.
  for (const algorithm how : forced()) {
    for (const attention_calls& calls : target::calls<element_types<float>>()) {
      for (const std::int64_t S : {20, 700}) {
        attention_case c = case_with(calls, maskings[0]);
        c.T = 12;
        c.S = S;
        c.D = target::dims({1, 18})[0].D;
        attention_problem p(c);
        // The first dimension alone counts.
        p.q.for_each([&](const tensor<4>::index& i) {
          p.q.set(i, i[3] > 0 ? 0.0 : i[1] % 2 == 0 ? 1.0 : -1.0);
        });
        for (const std::int64_t hidden : {std::int64_t{1}, S - 1, S}) {
          CAPTURE(name(how), S, hidden);
          attention_problem x = p;
          x.k.for_each([&](const tensor<4>::index& i) {
            if (i[1] < hidden && i[3] == 0) {
              x.k.set(i, -infinity);
            }
          });
          run(calls, x, {.how = how});
          const attention_reference expected(x);
          CHECK(verify(x, expected, bound::ceiling) == "");
        }
      }
    }
  }
}
