// SPDX-License-Identifier: Apache-2.0
// What must hold between calls of the operators with a matrix state, and single tokens by hand.
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;

namespace {

const recurrence_calls calls = recurrence_calls_for<float>();

recurrence_case case_of(recurrence op, std::int64_t T = 70) {
  recurrence_case c{.op = op, .B = 2, .T = T, .H = 2, .HV = 4, .K = 20, .V = 40};
  c.initial = c.final = true;
  return c;
}

/// Tokens [begin, begin + count) of every sequence as a call of its own.
recurrence_problem part(const recurrence_problem& p, std::int64_t begin, std::int64_t count,
                        const tensor<4>& state) {
  recurrence_case c = p.c;
  c.T = count;
  recurrence_problem one(c);
  for (auto [to, from] : {std::pair{&one.q, &p.q}, std::pair{&one.k, &p.k}, std::pair{&one.v, &p.v},
                          std::pair{&one.gate, &p.gate}, std::pair{&one.beta, &p.beta},
                          std::pair{&one.a, &p.a}, std::pair{&one.b, &p.b}}) {
    to->for_each([&, to = to, from = from](const tensor<4>::index& i) {
      to->set(i, (*from)[{i[0], i[1] + begin, i[2], i[3]}]);
    });
  }
  one.initial.for_each([&](const tensor<4>::index& i) { one.initial.set(i, state[i]); });
  return one;
}

/// The outputs of tokens [begin, end).
std::vector<double> outputs(const recurrence_problem& p, std::int64_t begin, std::int64_t end) {
  std::vector<double> all;
  p.o.for_each([&](const tensor<4>::index& i) {
    if (i[1] >= begin && i[1] < end) {
      all.push_back(p.o[i]);
    }
  });
  return all;
}

}  // namespace

TEST_CASE("one pass equals two parts, and single tokens, at every split", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    recurrence_problem whole(case_of(op, 40));
    calls.run(whole, {});
    for (std::int64_t split = 0; split <= 40; ++split) {
      recurrence_problem first = part(whole, 0, split, whole.initial);
      calls.run(first, {});
      recurrence_problem second = part(whole, split, 40 - split, first.final);
      calls.run(second, {});
      CAPTURE(name(op), split);
      CHECK(compare(outputs(second, 0, 40 - split), outputs(whole, split, 40),
                    tolerance_of(scalar_type::f32), bound::ceiling, 0.05) == "");
      CHECK(compare(second.final.values(), whole.final.values(), tolerance_of(scalar_type::f32),
                    bound::ceiling, 0.05) == "");
    }
    tensor<4> state = whole.initial;
    for (std::int64_t t = 0; t < 40; ++t) {
      recurrence_problem token = part(whole, t, 1, state);
      calls.run(token, {});
      state = token.final;
      CAPTURE(name(op), t);
      CHECK(compare(outputs(token, 0, 1), outputs(whole, t, t + 1), tolerance_of(scalar_type::f32),
                    bound::ceiling, 0.05) == "");
    }
  }
}

TEST_CASE("bits do not depend on executor, batch or packing", "[matrix_recurrence][threads]") {
  for (const recurrence op : every_recurrence) {
    for (const std::int64_t V : {std::int64_t{40}, std::int64_t{200}}) {
      recurrence_case c = case_of(op);
      c.V = V;
      c.B = 3;
      c.packed = true;
      recurrence_problem packed(c);
      calls.run(packed, {});
      const recurrence_bits once = bits_of(packed);
      for (const int threads : {2, 3, 7}) {
        pool_executor pool(threads, 5);
        calls.run(packed, {.executor = pool});
        CAPTURE(name(op), V, threads);
        CHECK(bits_of(packed) == once);
      }
      for (std::int64_t n = 0; n < 3; ++n) {
        recurrence_problem one = alone(packed, n);
        calls.run(one, {});
        CAPTURE(name(op), n, one.c.T);
        CHECK(same_bits(one, packed, n));
      }
    }
  }
}

TEST_CASE("a gate of minus infinity is a boundary between sequences, bit for bit",
          "[matrix_recurrence]") {
  for (const recurrence op : {recurrence::gla, recurrence::gdn, recurrence::kda}) {
    recurrence_problem whole(case_of(op));
    constexpr std::int64_t cut = 37;
    whole.gate.for_each([&](const tensor<4>::index& i) {
      if (i[1] == cut) {
        whole.gate.set(i, -std::numeric_limits<double>::infinity());
      }
    });
    // Not even a broken past comes through.
    whole.k.set({0, 5, 0, 3}, std::numeric_limits<double>::quiet_NaN());
    whole.v.set({1, 20, 2, 7}, std::numeric_limits<double>::infinity());
    calls.run(whole, {});
    tensor<4> zeros(scalar_type::f32, whole.initial.extents());
    zeros.for_each([&](const tensor<4>::index& i) { zeros.set(i, 0); });
    recurrence_problem after = part(whole, cut, 70 - cut, zeros);
    calls.run(after, {});
    bool same = true;
    after.o.for_each([&](const tensor<4>::index& i) {
      same = same && after.o.bits(i) == whole.o.bits({i[0], i[1] + cut, i[2], i[3]});
    });
    CAPTURE(name(op));
    CHECK(same);
    CHECK(after.final.all_bits() == whole.final.all_bits());
    CHECK(std::isnan(whole.o[{0, 30, 0, 0}]));
  }
}

TEST_CASE("non-finite values stay in their sequence, head and, for queries, token",
          "[matrix_recurrence]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const recurrence op : every_recurrence) {
    recurrence_problem clean(case_of(op));
    calls.run(clean, {});
    recurrence_problem dirty(case_of(op));
    dirty.q.set({0, 10, 1, 2}, nan);  // value heads 2 and 3
    dirty.v.set({1, 30, 0, 4}, nan);
    calls.run(dirty, {});
    bool same = true;
    dirty.o.for_each([&](const tensor<4>::index& i) {
      const bool of_query = i[0] == 0 && i[1] == 10 && i[2] >= 2;
      const bool of_value = i[0] == 1 && i[1] >= 30 && i[2] == 0 && i[3] == 4;
      same = same &&
             ((of_query || of_value) ? std::isnan(dirty.o[i]) : dirty.o.bits(i) == clean.o.bits(i));
    });
    CAPTURE(name(op));
    CHECK(same);
  }
}

TEST_CASE("reverse is a forward run on reversed tokens", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    recurrence_case c = case_of(op);
    c.reverse = true;
    recurrence_problem reversed(c);
    calls.run(reversed, {});
    c.reverse = false;
    recurrence_problem forward(c);
    for (tensor<4>* t : {&forward.q, &forward.k, &forward.v, &forward.gate, &forward.beta,
                         &forward.a, &forward.b}) {
      const tensor<4> before = *t;
      t->for_each(
          [&](const tensor<4>::index& i) { t->set(i, before[{i[0], 69 - i[1], i[2], i[3]}]); });
    }
    calls.run(forward, {});
    bool same = forward.final.all_bits() == reversed.final.all_bits();
    forward.o.for_each([&](const tensor<4>::index& i) {
      same = same && forward.o.bits(i) == reversed.o.bits({i[0], 69 - i[1], i[2], i[3]});
    });
    CAPTURE(name(op));
    CHECK(same);
  }
}

TEST_CASE("operators that degenerate into each other", "[matrix_recurrence]") {
  const auto run_as = [](recurrence op, const auto& change) {
    recurrence_case c = case_of(op);
    recurrence_problem p(c);
    change(p);
    calls.run(p, {});
    return p.o.values();
  };
  const auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
    return compare(x, y, tolerance_of(scalar_type::f32), bound::ceiling, 0.05);
  };
  const auto gates = [](double value) {
    return [value](recurrence_problem& p) {
      p.gate.for_each([&](const tensor<4>::index& i) { p.gate.set(i, value); });
    };
  };
  const auto nothing = [](recurrence_problem&) {};
  CHECK(same(run_as(recurrence::gla, gates(0)), run_as(recurrence::linear, nothing)) == "");
  CHECK(same(run_as(recurrence::kda, gates(-0.25)), run_as(recurrence::gdn, gates(-0.25))) == "");
  const auto strengths = [](recurrence_problem& p) {
    p.beta.for_each([&](const tensor<4>::index& i) { p.beta.set(i, 0.5); });
  };
  CHECK(same(run_as(recurrence::gdn,
                    [&](recurrence_problem& p) {
                      gates(0)(p);
                      strengths(p);
                    }),
             run_as(recurrence::delta, strengths)) == "");
  CHECK(same(run_as(recurrence::dplr,
                    [](recurrence_problem& p) {
                      p.b.for_each([&](const tensor<4>::index& i) { p.b.set(i, 0); });
                    }),
             run_as(recurrence::gla, nothing)) == "");
  CHECK(same(run_as(recurrence::lightning,
                    [](recurrence_problem& p) {
                      for (std::int64_t h = 0; h < 4; ++h) {
                        p.slopes.set({h}, -std::log1p(-std::exp2(-5.0 - static_cast<double>(h))));
                      }
                    }),
             run_as(recurrence::retention, nothing)) == "");
}

TEST_CASE("the delta rule by hand", "[matrix_recurrence][L10]") {
  // One key, twice: the second value replaces the first, by the share beta.
  const std::vector<float> q{1, 0, 1, 0}, k{1, 0, 1, 0}, v{3, 7}, beta{1, 0.25F};
  std::vector<float> o(2);
  const auto tokens = [](const std::vector<float>& x, std::int64_t d) {
    return seqmix::view(x.data(), 1, 2, 1, d);
  };
  seqmix::delta_rule(tokens(q, 2), tokens(k, 2), tokens(v, 1), seqmix::view(beta.data(), 1, 2, 1),
                     seqmix::view(o.data(), 1, 2, 1, 1), {.scale = 1});
  CHECK(o == std::vector<float>{3, 4});
  // The decay comes first, and the delta reads the decayed state.
  const std::vector<float> g{0, std::log(0.5F)};
  seqmix::gated_delta_rule(tokens(q, 2), tokens(k, 2), tokens(v, 1),
                           seqmix::view(g.data(), 1, 2, 1), seqmix::view(beta.data(), 1, 2, 1),
                           seqmix::view(o.data(), 1, 2, 1, 1), {.scale = 1});
  CHECK(o[1] == 1.5F + 0.25F * (7 - 1.5F));
}

TEST_CASE("the general form reads the state before its decay", "[matrix_recurrence][L17]") {
  const std::vector<float> q{1, 1}, k{2, 0}, v{5, 0}, g{0, std::log(0.5F)}, a{0, 1}, b{0, 3};
  std::vector<float> o(2);
  const auto tokens = [](const std::vector<float>& x) {
    return seqmix::view(x.data(), 1, 2, 1, 1);
  };
  seqmix::dplr_delta_rule(tokens(q), tokens(k), tokens(v), tokens(g), tokens(a), tokens(b),
                          seqmix::view(o.data(), 1, 2, 1, 1), {.scale = 1});
  CHECK(o == std::vector<float>{10, 5 + 3 * 10});
  seqmix::rwkv7(tokens(q), tokens(k), tokens(v), tokens(g), tokens(a), tokens(b),
                seqmix::view(o.data(), 1, 2, 1, 1), {.scale = 1});
  CHECK(o == std::vector<float>{10, 5 - 3 * 10});
}

TEST_CASE("parity: strengths of 2 reflect", "[matrix_recurrence][L11]") {
  // State -1 or 1 under one key: beta = 2 and v = 0 turn it over.
  std::vector<float> q(4096, 1), k(4096, 1), v(4096, 0), beta(4096), o(4096);
  v[0] = 1;
  beta[0] = 1;
  int turned = 0;
  std::vector<float> expected{1};
  for (std::size_t t = 1; t < 4096; ++t) {
    const bool bit = mix(t) % 2 == 1;
    beta[t] = bit ? 2 : 0;
    turned += bit ? 1 : 0;
    expected.push_back(turned % 2 == 0 ? 1.0F : -1.0F);
  }
  const auto tokens = [](std::vector<float>& x) { return seqmix::view(x.data(), 1, 4096, 1, 1); };
  seqmix::delta_rule(tokens(q), tokens(k), tokens(v), seqmix::view(beta.data(), 1, 4096, 1),
                     tokens(o), {.scale = 1});
  CHECK(o == expected);
}

TEST_CASE("states: in place, in a pool, skipped, V-first", "[matrix_recurrence]") {
  for (const recurrence op : {recurrence::gla, recurrence::gdn}) {
    recurrence_problem plain(case_of(op));
    calls.run(plain, {});
    // In place.
    recurrence_problem p(case_of(op));
    seqmix::recurrence_options options = p.options<float>();
    options.final_state = p.initial.view<float>();
    const auto call = [&](const seqmix::recurrence_options& x) {
      with_recurrence<float, float, float>(
          p, [&](const auto& f, const auto&, const auto& q, const auto& k, const auto& v,
                 const auto&... rest) {
            const auto tuple = std::tie(rest...);
            constexpr std::size_t last = sizeof...(rest) - 1;
            [&]<std::size_t... I>(std::index_sequence<I...>) {
              f(q, k, v, std::get<I>(tuple)..., x);
            }(std::make_index_sequence<last>{});
          });
    };
    call(options);
    CHECK(p.initial.all_bits() == plain.final.all_bits());
    CHECK(p.o.all_bits() == plain.o.all_bits());

    // A pool: sequence 1 is skipped, and nothing of it is touched.
    tensor<4> pool(scalar_type::f32, {5, 4, 20, 40});
    recurrence_problem again(case_of(op));
    for (std::int64_t i = 0; i < 4 * 20 * 40; ++i) {
      const tensor<4>::index at{0, i / 800, i / 40 % 20, i % 40};
      pool.set({3, at[1], at[2], at[3]}, again.initial[at]);
    }
    const std::vector<std::int32_t> slots{3, -1};
    options = p.options<float>();
    options.initial_state = pool.view<const float>();
    options.final_state = pool.view<float>();
    options.initial_slots = seqmix::view(slots.data(), 2);
    p.o.clear();
    call(options);
    bool right = true;
    pool.for_each([&](const tensor<4>::index& i) {
      right = right && (i[0] == 3 ? pool.bits(i) == plain.final.bits({0, i[1], i[2], i[3]})
                                  : pool.untouched(i));
    });
    p.o.for_each([&](const tensor<4>::index& i) {
      right = right && (i[0] == 0 ? p.o.bits(i) == plain.o.bits(i) : p.o.untouched(i));
    });
    CHECK(right);

    // V-first is a choice of strides.
    std::vector<float> turned(2 * 4 * 40 * 20);
    options = again.options<float>();
    options.final_state =
        seqmix::tensor_view<float, 4>(turned.data(), {2, 4, 20, 40}, {3200, 800, 1, 20});
    p = again;
    call(options);
    plain.final.for_each([&](const tensor<4>::index& i) {
      right = right &&
              static_cast<double>(
                  turned[static_cast<std::size_t>(i[0] * 3200 + i[1] * 800 + i[3] * 20 + i[2])]) ==
                  plain.final[i];
    });
    CHECK(right);
  }
}

TEST_CASE("calls that break the contract are refused, and nothing is written",
          "[matrix_recurrence][refusals]") {
  std::vector<float> x(4096, 0.25F), o(4096, -7), s(4096, -7);
  using seqmix::view;
  const auto q = view(x.data(), 2, 3, 2, 4);
  const auto v = view(x.data(), 2, 3, 4, 5);
  const auto out = view(o.data(), 2, 3, 4, 5);
  const auto g = view(x.data(), 2, 3, 4);
  const auto refused = [&](auto&&... a) {
    try {
      seqmix::gated_delta_rule(a...);
    } catch (const seqmix::error& e) {
      CHECK(e.operator_name() == "gated_delta_rule");
      return e.argument();
    }
    return std::string();
  };
  const auto with = [&](const seqmix::recurrence_options& options) {
    return refused(q, q, v, g, g, out, options);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(refused(q, view(x.data(), 2, 3, 2, 5), v, g, g, out) == "k");
  CHECK(refused(q, q, view(x.data(), 2, 3, 3, 5), view(x.data(), 2, 3, 3), view(x.data(), 2, 3, 3),
                view(o.data(), 2, 3, 3, 5)) == "v.extent(HV)");
  CHECK(refused(q, q, v, view(x.data(), 2, 3, 2), g, out) == "g");
  CHECK(refused(q, q, v, g, view(x.data(), 2, 3, 4, 4), out) == "beta");
  CHECK(refused(q, q, v, g, g, view(x.data(), 2, 3, 4, 5)) == "o");
  CHECK(with({.scale = nan}) == "options.scale");
  CHECK(with({.initial_state = view(s.data(), 2, 4, 5, 4)}) == "options.initial_state");
  CHECK(with({.final_state = view(o.data(), 2, 4, 4, 5)}) == "o");
  CHECK(with({.initial_state = view(s.data(), 2, 4, 4, 5),
              .final_state = view(s.data() + 20, 2, 4, 4, 5)}) == "options.final_state");
  const std::vector<std::int64_t> bad{0, 7}, twice{1, 1}, offsets{0, 3};
  CHECK(with({.final_state = view(s.data(), 3, 4, 4, 5), .initial_slots = view(bad.data(), 2)}) ==
        "options.initial_slots");
  CHECK(with({.final_state = view(s.data(), 3, 4, 4, 5), .initial_slots = view(twice.data(), 2)}) ==
        "options.initial_slots");
  CHECK(with({.initial_slots = view(bad.data(), 2)}) == "options.initial_slots");
  CHECK(with({.l2norm_eps = -1}) == "options.l2norm_eps");
  CHECK(with({.varlen = {.offsets = view(offsets.data(), 2)}}) == "options.varlen");
  CHECK(o == std::vector<float>(4096, -7));
  CHECK(s == std::vector<float>(4096, -7));
}
