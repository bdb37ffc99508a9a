// SPDX-License-Identifier: Apache-2.0
// Gates, strengths, keys and states at the ends of their ranges, in every algorithm, and operators
// that equal others there.
#include <cmath>
#include <functional>
#include <limits>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/encoded_recurrence.hpp"

using namespace seqmix_test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr const char* algorithms[] = {"recurrent", "chunk<64>", "segmented<50>"};
const recurrence_calls calls = recurrence_calls_for<float>();

/// Divides every row by its length.
void normalise_rows(tensor<4>& x) {
  const tensor<4> before = x;
  x.for_each([&](const tensor<4>::index& i) {
    double squares = 0;
    for (std::int64_t d = 0; d < x.extent(3); ++d) {
      const double e = before[{i[0], i[1], i[2], d}];
      squares += e * e;
    }
    x.set(i, before[i] / std::sqrt(squares));
  });
}

/// Keys of length 1, and low-rank updates that never grow the state.
recurrence_problem normalised(recurrence op, std::int64_t T) {
  recurrence_case c{.op = op, .B = 1, .T = T, .H = 1, .HV = 2, .K = 16, .V = 24};
  c.initial = c.final = true;
  recurrence_problem p(c);
  normalise_rows(p.k);
  normalise_rows(p.a);
  if (op == recurrence::dplr) {
    p.b.for_each([&](const tensor<4>::index& i) { p.b.set(i, -0.75 * p.a[i]); });
  }
  return p;
}

/// The bound of ordinary inputs, without any floor below the reference. Chunks may be off by
/// `chunk_error` more.
void check(recurrence_problem& p, const recurrence_problem& expected, const std::string& what,
           double chunk_error = 0) {
  for (const char* algorithm : algorithms) {
    calls.run(p, {.pin = {.algorithm = algorithm}});
    CAPTURE(name(p.c.op), what, algorithm);
    tolerance t = tolerance_of(scalar_type::f32);
    if (std::string(algorithm).starts_with("chunk")) {
      t.target += chunk_error;
      t.element += 4 * chunk_error;
    }
    CHECK(compare(p.o.values(), expected.o.values(), t) == "");
    CHECK(compare(owned_states(p), owned_states(expected), t) == "");
  }
}

struct regime {
  const char* name;
  std::function<double(const tensor<4>::index&)> gate;
};

double uniform_at(const tensor<4>::index& i, double low, double high) {
  std::uint64_t key = 77;
  for (const std::int64_t x : i) {
    key = mix(key ^ static_cast<std::uint64_t>(x));
  }
  return low + (high - low) * static_cast<double>(key >> 11) / 9007199254740992.0;
}

std::vector<regime> every_regime() {
  std::vector<regime> all;
  for (const double g : {0.0, -1e-4, -5.0, -80.0, -1e4, -infinity}) {
    all.push_back({"constant", [g](const auto&) { return g; }});
  }
  all.push_back({"uniform", [](const auto& i) { return uniform_at(i, -20, -1e-4); }});
  all.push_back({"half masked", [](const auto& i) {
                   return (i[1] + i[3]) % 2 == 0 ? -infinity : uniform_at(i, -0.1, 0);
                 }});
  all.push_back({"masked half of the tokens", [](const auto& i) {
                   return mix(static_cast<std::uint64_t>(i[1])) % 2 == 0 ? -infinity : -0.01;
                 }});
  for (const double strong : {-20.0, -1e3, -1e4, -1e6, -infinity}) {
    all.push_back({"mixed", [strong](const auto& i) {
                     return i[1] % 11 == 10 ? strong : uniform_at(i, -0.1, -0.001);
                   }});
  }
  return all;
}

}  // namespace

TEST_CASE("gates of every regime", "[matrix_recurrence][regimes]") {
  for (const recurrence op : gated_recurrences) {
    for (const regime& r : every_regime()) {
      recurrence_problem p = normalised(op, 128);
      p.gate.for_each([&](const tensor<4>::index& i) { p.gate.set(i, r.gate(i)); });
      check(p, oracle_of(calls, p), std::string(r.name) + ", " + std::to_string(p.gate[{0, 10}]));
    }
  }
}

TEST_CASE("weak gates that are all alike, over many tokens", "[matrix_recurrence][regimes]") {
  // Each factor is a rounded number, and all are rounded the same way.
  for (const recurrence op : {recurrence::gla, recurrence::lightning, recurrence::rwkv7}) {
    for (const double g : {-1e-4, -1e-3, -0.02}) {
      recurrence_problem p = normalised(op, 4096);
      p.gate.for_each([&](const tensor<4>::index& i) { p.gate.set(i, g); });
      for (std::int64_t h = 0; h < 2; ++h) {
        p.slopes.set({h}, -g);
      }
      const recurrence_problem expected = oracle_of(calls, p);
      calls.run(p, {});
      CAPTURE(name(op), g);
      CHECK(compare(p.o.values(), expected.o.values(), tolerance_of(scalar_type::f32)) == "");
      CHECK(compare(owned_states(p), owned_states(expected), tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("gates log(sigmoid(x)) / n", "[matrix_recurrence][regimes]") {
  for (const recurrence op : gated_recurrences) {
    for (const double n : {0.01, 0.1, 1.0, 10.0}) {
      recurrence_problem p = normalised(op, 160);
      const auto raw = [&](const tensor<4>::index& i) { return uniform_at(i, -3, 3); };
      p.gate.for_each(
          [&](const tensor<4>::index& i) { p.gate.set(i, -std::log1p(std::exp(-raw(i))) / n); });
      const recurrence_problem expected = oracle_of(calls, p);
      check(p, expected, std::to_string(n));
      p.gate.for_each([&](const tensor<4>::index& i) { p.gate.set(i, raw(i)); });
      recurrence_problem exact = exact_problem(p);
      const auto wrap = [&](const auto& v) {
        return seqmix::raw_gate(v, seqmix::logsigmoid_activation{.tau = n});
      };
      run_encoded<float, double, double>(exact, true, wrap, as_it_is);
      for (const char* algorithm : algorithms) {
        run_encoded<float, float, float>(p, false, wrap, as_it_is,
                                         {.pin = {.algorithm = algorithm}});
        CAPTURE(name(op), n, algorithm);
        CHECK(compare(p.o.values(), exact.o.values(), tolerance_of(scalar_type::f32)) == "");
      }
    }
  }
}

TEST_CASE("strengths and keys of every regime", "[matrix_recurrence][regimes]") {
  enum class keys { random, identical, orthonormal, zero };
  for (const recurrence op : {recurrence::delta, recurrence::gdn, recurrence::kda}) {
    for (const keys of : {keys::random, keys::identical, keys::orthonormal, keys::zero}) {
      for (const double beta : {0.0, 1.0, 2.0, -1.0}) {  // the last stands for 0 to 2
        recurrence_problem p = normalised(op, 100);
        const tensor<4> first = p.k;
        p.k.for_each([&](const tensor<4>::index& i) {
          p.k.set(i, of == keys::identical     ? first[{0, 0, 0, i[3]}]
                     : of == keys::orthonormal ? (i[1] % 16 == i[3] ? 1.0 : 0.0)
                     : of == keys::zero        ? 0.0
                                               : first[i]);
        });
        p.beta.for_each([&](const tensor<4>::index& i) {
          p.beta.set(i, beta >= 0 ? beta : uniform_at(i, 0, 2));
        });
        check(p, oracle_of(calls, p),
              "keys " + std::to_string(static_cast<int>(of)) + ", beta " + std::to_string(beta),
              // Every token turns what is before it over, by 1 - 2 k.k. A chunk has k.k rounded,
              // the same at each of its 64 tokens, and so the 64th power of that.
              of == keys::identical && beta == 2 ? 64 * 2 * 0x1p-24 : 0);
        if (op == recurrence::delta && (of == keys::zero || beta == 0)) {
          calls.run(p, {});
          CHECK(p.final.all_bits() == p.initial.all_bits());  // nothing was written
        }
      }
    }
  }
}

TEST_CASE("a query of zero reads zero", "[matrix_recurrence][regimes]") {
  for (const recurrence op : every_recurrence) {
    for (const char* algorithm : algorithms) {
      recurrence_problem p = normalised(op, 70);
      p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, i[1] % 2 == 0 ? 0 : p.q[i]); });
      calls.run(p, {.pin = {.algorithm = algorithm}});
      bool right = true;
      p.o.for_each([&](const tensor<4>::index& i) {
        right = right && (i[1] % 2 == 0 ? p.o[i] == 0 : std::isfinite(p.o[i]));
      });
      CAPTURE(name(op), algorithm);
      CHECK(right);
    }
  }
}

TEST_CASE("operators that equal others, in every algorithm", "[matrix_recurrence][regimes]") {
  const tolerance t = tolerance_of(scalar_type::f32);
  const auto run_as = [](recurrence op, const char* algorithm, const auto& change) {
    recurrence_problem p = normalised(op, 90);
    change(p);
    calls.run(p, {.pin = {.algorithm = algorithm}});
    std::vector<double> all = p.o.values();
    const std::vector<double> state = p.final.values();
    all.insert(all.end(), state.begin(), state.end());
    return all;
  };
  const auto fill = [](tensor<4> recurrence_problem::* which, double value) {
    return [=](recurrence_problem& p) {
      (p.*which).for_each([&](const tensor<4>::index& i) { (p.*which).set(i, value); });
    };
  };
  const auto nothing = [](recurrence_problem&) {};
  const auto gates = [&](double g) { return fill(&recurrence_problem::gate, g); };
  for (const char* algorithm : algorithms) {
    CAPTURE(algorithm);
    const auto same = [&](recurrence one, const auto& change_one, recurrence other,
                          const auto& change_other) {
      CAPTURE(name(one), name(other));
      CHECK(compare(run_as(one, algorithm, change_one), run_as(other, "recurrent", change_other),
                    t) == "");
    };
    same(recurrence::gla, gates(0), recurrence::linear, nothing);
    same(recurrence::kda, gates(-0.25), recurrence::gdn, gates(-0.25));
    same(recurrence::gdn, gates(0), recurrence::delta, [](recurrence_problem& p) {
      recurrence_problem::uniform(p.beta, p.c.seed * 16 + 8, 0, 2);  // gdn's own
    });
    same(recurrence::dplr, fill(&recurrence_problem::b, 0), recurrence::gla, nothing);
    same(recurrence::dplr, fill(&recurrence_problem::a, 0), recurrence::gla, nothing);
    same(recurrence::rwkv7, fill(&recurrence_problem::b, 0), recurrence::gla, nothing);
    // One rate for all heads as gates.
    same(
        recurrence::lightning,
        [](recurrence_problem& p) {
          for (std::int64_t h = 0; h < 2; ++h) {
            p.slopes.set({h}, 0.25);
          }
        },
        recurrence::gla, gates(-0.25));
    same(
        recurrence::lightning,
        [](recurrence_problem& p) {
          for (std::int64_t h = 0; h < 2; ++h) {
            p.slopes.set({h}, -std::log1p(-std::exp2(-5.0 - static_cast<double>(h))));
          }
        },
        recurrence::retention, nothing);
    // What a removal key removes, as a general update.
    same(recurrence::rwkv7, nothing, recurrence::dplr, [](recurrence_problem& p) {
      recurrence_problem other = normalised(recurrence::rwkv7, 90);
      p.b.for_each([&](const tensor<4>::index& i) { p.b.set(i, other.a[i] * other.b[i]); });
      p.a.for_each([&](const tensor<4>::index& i) { p.a.set(i, -other.a[i]); });
    });
    // Delta after the decay, as a general update before it: a = -beta e^g k, b = k, v = beta v.
    same(recurrence::kda, nothing, recurrence::dplr, [](recurrence_problem& p) {
      recurrence_problem other = normalised(recurrence::kda, 90);
      p.b.for_each([&](const tensor<4>::index& i) { p.b.set(i, p.k[{i[0], i[1], 0, i[3]}]); });
      p.a.for_each([&](const tensor<4>::index& i) {
        p.a.set(i, -other.beta[{i[0], i[1], i[2], 0}] * std::exp(p.gate[i]) * p.b[i]);
      });
      p.v.for_each([&](const tensor<4>::index& i) {
        p.v.set(i, other.beta[{i[0], i[1], i[2], 0}] * p.v[i]);
      });
    });
  }
}

TEST_CASE("a delta rule on orthonormal keys is linear attention", "[matrix_recurrence][L10]") {
  // Each key once, with strength 1, on a state that holds nothing.
  const auto run_as = [](recurrence op) {
    recurrence_problem p = normalised(op, 16);
    p.k.for_each([&](const tensor<4>::index& i) { p.k.set(i, i[1] == i[3] ? 1 : 0); });
    p.beta.for_each([&](const tensor<4>::index& i) { p.beta.set(i, 1); });
    p.initial.for_each([&](const tensor<4>::index& i) { p.initial.set(i, 0); });
    calls.run(p, {});
    return p;
  };
  const recurrence_problem delta = run_as(recurrence::delta);
  const recurrence_problem linear = run_as(recurrence::linear);
  CHECK(delta.o.values() == linear.o.values());
  CHECK(delta.final.values() == linear.final.values());
}

TEST_CASE("a denominator is a column of ones", "[matrix_recurrence][L01]") {
  recurrence_case c{.op = recurrence::linear, .B = 2, .T = 90, .H = 2, .HV = 4, .K = 16, .V = 25};
  recurrence_problem p(c);
  p.v.for_each([&](const tensor<4>::index& i) {
    if (i[3] == 24) {
      p.v.set(i, 1);
    }
  });
  for (const char* algorithm : algorithms) {
    const auto run = [&](bool normalise) {
      p.o.clear();
      seqmix::linear_attention(
          p.q.view<const float>(), p.k.view<const float>(), p.v.view<const float>(),
          p.o.view<float>(),
          {.features = seqmix::feature_map::elu_plus_1, .normalise = normalise, .normalise_eps = 0},
          {.pin = {.algorithm = algorithm}});
      return p.o;
    };
    const tensor<4> sums = run(false), normalised_rows = run(true);
    std::vector<double> expected;
    sums.for_each([&](const tensor<4>::index& i) {
      expected.push_back(sums[i] / sums[{i[0], i[1], i[2], 24}]);
    });
    CAPTURE(algorithm);
    CHECK(compare(normalised_rows.values(), expected, tolerance_of(scalar_type::f32)) == "");
  }
}

TEST_CASE("l2norm of the call is that of output_norm", "[matrix_recurrence][L10]") {
  recurrence_problem p = normalised(recurrence::delta, 40);
  p.k.fill(5);
  recurrence_problem inside = p;
  inside.c.l2norm = true;
  calls.run(inside, {});
  for (tensor<4>* x : {&p.q, &p.k}) {
    seqmix::output_norm_inplace(x->view<float>(), {.kind = seqmix::output_norm_kind::l2});
  }
  calls.run(p, {});
  CHECK(compare(inside.o.values(), p.o.values(), tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("permutations of three elements over 4096 steps", "[matrix_recurrence][L16]") {
  // Of a key e_i - e_j with strength 1, I - k k^T exchanges rows i and j: two tokens for each step
  // are any permutation, exactly.
  constexpr std::int64_t steps = 4096;
  std::vector<float> q(steps * 2 * 3), k(q.size(), 0), v(q.size(), 0), beta(steps * 2, 1),
      o(q.size()), expected;
  std::vector<float> state{1, 0, 0, 0, 1, 0, 0, 0, 1}, last(9);
  int rows[] = {0, 1, 2};
  for (std::size_t t = 0; t < 2 * steps; ++t) {
    const auto i = static_cast<std::size_t>(mix(t) % 3);
    const auto j = static_cast<std::size_t>(mix(t + 100000) % 3);
    if (i != j) {
      k[t * 3 + i] = 1;
      k[t * 3 + j] = -1;
      std::swap(rows[i], rows[j]);
    }
    q[t * 3 + t % 3] = 1;
    for (int column = 0; column < 3; ++column) {
      expected.push_back(rows[t % 3] == column ? 1.0F : 0.0F);
    }
  }
  const auto tokens = [](std::vector<float>& x) {
    return seqmix::view(x.data(), 1, 2 * steps, 1, 3);
  };
  for (const char* algorithm : {"recurrent", "chunk<16>", "segmented<64>"}) {
    seqmix::delta_rule(tokens(q), tokens(k), tokens(v), seqmix::view(beta.data(), 1, 2 * steps, 1),
                       tokens(o),
                       {.scale = 1,
                        .initial_state = seqmix::view(state.data(), 1, 1, 3, 3),
                        .final_state = seqmix::view(last.data(), 1, 1, 3, 3)},
                       {.pin = {.algorithm = algorithm}});
    CAPTURE(algorithm);
    CHECK(o == expected);
  }
}

TEST_CASE("states of every type, between other slots", "[matrix_recurrence][regimes]") {
  const auto check_state = [](auto tag, const tolerance& of_state) {
    using S = decltype(tag);
    for (const recurrence op : every_recurrence) {
      recurrence_problem p = normalised(op, 45);
      const std::int64_t HV = p.c.HV, K = p.c.K, V = p.c.V;
      // Two copies of the sequence in the batch would be one: one sequence, from entry 2 to 0.
      tensor<4> from(seqmix::scalar_type_of<S>, {4, HV, K, V}, layout::strided);
      tensor<4> to(seqmix::scalar_type_of<S>, {3, HV, K, V}, layout::head_first);
      from.fill(9);
      p.initial.for_each([&](const tensor<4>::index& i) {
        from.set({2, i[1], i[2], i[3]}, p.initial[i]);
        p.initial.set(i, from[{2, i[1], i[2], i[3]}]);  // as it was rounded
      });
      const recurrence_problem expected = oracle_of(calls, p);
      const std::vector<std::int64_t> first{2}, last{0};
      seqmix::recurrence_options options;
      options.initial_state = from.view<const S>();
      options.final_state = to.view<S>();
      options.initial_slots = seqmix::view(first.data(), 1);
      options.final_slots = seqmix::view(last.data(), 1);
      with_recurrence<float, float, float>(p, [&](const auto& call, const auto&, const auto&... x) {
        const auto all = std::tie(x...);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
          call(std::get<I>(all)..., options);
        }(std::make_index_sequence<sizeof...(x) - 1>{});
      });
      std::vector<double> written;
      bool foreign = false;
      to.for_each([&](const tensor<4>::index& i) {
        if (i[0] == 0) {
          written.push_back(to[i]);
        } else {
          foreign = foreign || !to.untouched(i);
        }
      });
      CAPTURE(name(op), seqmix::name(to.type()));
      CHECK(compare(written, expected.final.values(), of_state) == "");
      CHECK(compare(p.o.values(), expected.o.values(), tolerance_of(scalar_type::f32)) == "");
      CHECK(!foreign);
      CHECK(to.gaps_untouched());
    }
  };
  check_state(0.0F, tolerance_of(scalar_type::f32));
  check_state(0.0, tolerance_of(scalar_type::f32));
  check_state(seqmix::f16(), tolerance_of(scalar_type::f16));
  check_state(seqmix::bf16(), tolerance_of(scalar_type::bf16));
}
