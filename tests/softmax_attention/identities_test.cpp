// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"

using namespace seqmix_test;

namespace {

std::vector<algorithm> kernels() {
  return target::algorithms({algorithm::tiled, algorithm::split_kv});
}
std::vector<algorithm> every_algorithm() {
  return target::algorithms({algorithm::tiled, algorithm::split_kv, algorithm::naive});
}

const std::vector<attention_calls>& all_calls() {
  static const std::vector<attention_calls> calls = target::calls<element_types<float>>();
  return calls;
}

attention_case case_of(const attention_calls& calls, std::int64_t T, std::int64_t S,
                       const head_dims& n = target::dims({24, 20})[0]) {
  attention_case c{
      .B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = n.D, .V = n.V, .lse = scalar_type::f32};
  c.types = calls.types;
  return c;
}

/// The bounds of an output, and of a log-sum-exp, that was stored in float.
tolerance of_output(const attention_calls& calls) {
  return output_tolerance({.types = calls.types});
}
constexpr tolerance of_lse = tolerance_of(scalar_type::f32);

/// A partial result: output and log-sum-exp.
struct partial {
  std::vector<double> o, lse;
};

/// The merge rule, written down once more.
partial merge(const partial& a, const partial& b, std::int64_t V, const attention_case& c) {
  partial m = a;
  for (std::int64_t batch = 0; batch < c.B; ++batch) {
    for (std::int64_t h = 0; h < c.H; ++h) {
      for (std::int64_t t = 0; t < c.T; ++t) {
        const auto s = static_cast<std::size_t>((batch * c.H + h) * c.T + t);
        const double top = std::max(a.lse[s], b.lse[s]);
        const double wa = top == -infinity ? 0 : std::exp(a.lse[s] - top);
        const double wb = top == -infinity ? 0 : std::exp(b.lse[s] - top);
        m.lse[s] = top == -infinity ? top : top + std::log(wa + wb);
        for (std::int64_t x = 0; x < V; ++x) {
          const auto i = static_cast<std::size_t>(((batch * c.T + t) * c.H + h) * V + x);
          m.o[i] = top == -infinity ? 0 : (wa * a.o[i] + wb * b.o[i]) / (wa + wb);
        }
      }
    }
  }
  return m;
}

/// The partial result over the keys that `keys` names.
partial attend_to(const attention_calls& calls, const attention_problem& whole,
                  const std::vector<std::int64_t>& keys, algorithm how) {
  attention_case c = whole.c;
  c.S = static_cast<std::int64_t>(keys.size());
  attention_problem part(c);
  part.q.for_each([&](const tensor<4>::index& i) { part.q.set(i, whole.q[i]); });
  part.k.for_each([&](const tensor<4>::index& i) {
    part.k.set(i, whole.k[{i[0], keys[static_cast<std::size_t>(i[1])], i[2], i[3]}]);
  });
  part.v.for_each([&](const tensor<4>::index& i) {
    part.v.set(i, whole.v[{i[0], keys[static_cast<std::size_t>(i[1])], i[2], i[3]}]);
  });
  run(calls, part, {.how = how});
  return {part.o.values(), part.lse.values()};
}

}  // namespace

TEST_CASE("partial results over any partition of the keys merge to the whole",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    const attention_problem whole(case_of(calls, 5, 130));
    const attention_reference expected(whole);
    for (const algorithm how : kernels()) {
      for (const int parts : {1, 2, 3, 7, 64}) {
        std::vector<std::vector<std::int64_t>> keys(static_cast<std::size_t>(parts));
        for (std::int64_t j = 0; j < whole.c.S; ++j) {
          // Scattered over the parts; some of the 64 stay empty.
          keys[mix(static_cast<std::uint64_t>(j * 100 + parts)) % static_cast<std::uint64_t>(parts)]
              .push_back(j);
        }
        std::vector<partial> results;
        for (const auto& subset : keys) {
          results.push_back(attend_to(calls, whole, subset, how));
        }
        CAPTURE(name(how), parts);
        // Left to right, right to left, and as a tree.
        partial left = results.front();
        partial right = results.back();
        for (std::size_t i = 1; i < results.size(); ++i) {
          left = merge(left, results[i], whole.c.V, whole.c);
          right = merge(results[results.size() - 1 - i], right, whole.c.V, whole.c);
        }
        std::vector<partial> tree = results;
        while (tree.size() > 1) {
          std::vector<partial> next;
          for (std::size_t i = 0; i < tree.size(); i += 2) {
            next.push_back(i + 1 < tree.size() ? merge(tree[i], tree[i + 1], whole.c.V, whole.c)
                                               : tree[i]);
          }
          tree = std::move(next);
        }
        for (const partial& p : {left, right, tree.front()}) {
          CHECK(compare(p.o, expected.o, of_output(calls), target::allowed(bound::target)) == "");
          CHECK(compare(p.lse, expected.lse, of_lse, bound::target, 1) == "");
        }
      }
    }
  }
}

TEST_CASE("rows without a visible key are zero, with minus infinity", "[softmax_attention]") {
  for (const auto& lengths : {std::pair{20, 3}, std::pair{5, 0}, std::pair{40, 0},
                              std::pair{70, 65}, std::pair{300, 2}}) {
    const std::int64_t T = lengths.first;  // clang 14 captures no structured binding
    const std::int64_t S = lengths.second;
    for (const attention_calls& calls : all_calls()) {
      for (const algorithm how : every_algorithm()) {
        attention_case c = case_of(calls, T, S);
        c.causal = true;
        attention_problem p(c);
        if (!can_run(p, how)) {
          continue;
        }
        CAPTURE(c, name(how));
        run(calls, p, {.how = how});
        bool zeros = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          zeros &= i[1] >= T - S || p.o.bits(i) == 0;  // +0, not -0
        });
        CHECK(zeros);
        bool none = true;
        bool others = true;
        p.lse.for_each([&](const tensor<3>::index& i) {
          none &= i[2] >= T - S || p.lse[i] == -infinity;
          others &= i[2] < T - S || std::isfinite(p.lse[i]);
        });
        CHECK(none);
        CHECK(others);
      }
    }
  }
}

TEST_CASE("one visible key gives its value exactly", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const std::int64_t T : target::sizes({1, 3, 90}, {1, 3, 8, 9, 90, 130})) {
      constexpr std::int64_t before = 6;
      attention_case c = case_of(calls, T, T + before);
      c.window = {.left = 0, .right = 0};
      attention_problem p(c);
      for (const algorithm how : kernels()) {
        if (!can_run(p, how)) {
          continue;
        }
        CAPTURE(T, name(how));
        run(calls, p, {.how = how});
        bool exact = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          exact &= p.o[i] == p.v[{i[0], i[1] + before, i[2] / 2, i[3]}];
        });
        CHECK(exact);
      }
    }
  }
}

TEST_CASE("a constant added to all logits of a row moves nothing but the log-sum-exp",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const double wanted : {5.0, -200.0, 3000.0}) {
      attention_case c = case_of(calls, 30, 70);
      c.scale = 0.2;
      attention_problem p(c);
      // The last dimension is the same for all keys, so that it adds to every logit.
      p.k.for_each([&](const tensor<4>::index& i) {
        if (i[3] == c.D - 1) {
          p.k.set(i, 1.0);
        }
      });
      const auto with_last = [&](double value) {
        p.q.for_each([&](const tensor<4>::index& i) {
          if (i[3] == c.D - 1) {
            p.q.set(i, value);
          }
        });
      };
      with_last(0);
      const attention_reference expected(p);
      with_last(wanted / 0.2);
      const double shift = p.q[{0, 0, 0, c.D - 1}] * 0.2;  // as the type rounds it
      for (const algorithm how : kernels()) {
        CAPTURE(shift, name(how));
        run(calls, p, {.how = how});
        // Logits carry the rounding of their size; matrix units cut off where the CPU rounds.
        const double size = (1 + std::fabs(shift)) * (target::on_gpu ? 4 : 1);
        const tolerance t{1e-7 * size + 1e-6, 1e-7 * size + 1e-6, 0, 1e-6 * size + 1e-5};
        tolerance stored = t;
        if (target::on_gpu) {
          stored.target += of_output(calls).ceiling;
          stored.element += of_output(calls).element;
        }
        CHECK(compare(p.o.values(), expected.o, stored) == "");
        std::vector<double> lse = p.lse.values();
        for (double& x : lse) {
          x -= shift;
        }
        CHECK(compare(lse, expected.lse, t, bound::target, 1) == "");
      }
    }
  }
}

TEST_CASE("logits of magnitude 1e4 stay finite", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const double magnitude : {1e4, 3e5}) {
      if (calls.types.q == scalar_type::f16 && magnitude > 1e4) {
        continue;  // the queries would be infinite
      }
      attention_case c = case_of(calls, 40, 90);
      c.magnitude = magnitude;
      c.causal = true;
      attention_problem p(c);
      const attention_reference expected(p);
      // The largest |v|: outputs are convex combinations, up to the rounding of the weights.
      const double most = target::on_gpu ? 3.47 * (1 + 1.0 / 128) : 3.47;
      for (const algorithm how : kernels()) {
        CAPTURE(magnitude, name(how));
        run(calls, p, {.how = how});
        bool finite = true;
        bool inside = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          finite &= std::isfinite(p.o[i]);
          inside &= std::fabs(p.o[i]) <= most;
        });
        CHECK(finite);
        CHECK(inside);
        CHECK(compare(p.lse.values(), expected.lse, of_lse) == "");
      }
    }
  }
}

TEST_CASE("logits that differ by more than any exponent leave the largest", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    attention_case c = case_of(calls, 20, 50);
    c.D = target::dims({1, 20})[0].D;
    c.scale = 1.0;
    attention_problem p(c);
    // The first dimension alone counts.
    p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, i[3] == 0 ? 1000.0 : 0.0); });
    p.k.for_each([&](const tensor<4>::index& i) {
      p.k.set(i, i[1] == 37 ? 1.0 : -static_cast<double>(i[1]));
    });
    for (const algorithm how : kernels()) {
      CAPTURE(name(how));
      run(calls, p, {.how = how});
      bool exact = true;
      p.o.for_each(
          [&](const tensor<4>::index& i) { exact &= p.o[i] == p.v[{i[0], 37, i[2] / 2, i[3]}]; });
      CHECK(exact);
    }
  }
}

TEST_CASE("equal values give that value, however many keys there are", "[softmax_attention]") {
  // Sums of equal terms round the same way at every step: one chain over all keys would drift.
  for (const attention_calls& calls : all_calls()) {
    for (const std::int64_t S : {500, 5000, 50000}) {
      const head_dims n = target::dims({4, 16})[0];
      attention_case c{.T = 24, .S = S, .D = n.D, .V = n.V};
      c.types = calls.types;
      attention_problem p(c);
      p.v.for_each(
          [&](const tensor<4>::index& i) { p.v.set(i, 1.3 + 0.1 * static_cast<double>(i[3])); });
      std::vector<double> expected;
      p.o.for_each([&](const tensor<4>::index& i) { expected.push_back(p.v[{0, 0, 0, i[3]}]); });
      for (const bool equal_scores : {false, true}) {
        if (equal_scores) {
          p.k.for_each([&](const tensor<4>::index& i) { p.k.set(i, 0.5); });
        }
        for (const algorithm how : kernels()) {
          run(calls, p, {.how = how});
          CAPTURE(S, equal_scores, name(how));
          CHECK(compare(p.o.values(), expected, of_output(calls), bound::ceiling) == "");
        }
      }
    }
  }
}

TEST_CASE("permuting keys changes only rounding", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    const attention_problem p(case_of(calls, 33, 300));
    std::vector<std::int64_t> order(300);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[mix(i) % i]);
    }
    const attention_reference expected(p);
    for (const algorithm how : kernels()) {
      CAPTURE(name(how));
      const partial r = attend_to(calls, p, order, how);
      CHECK(compare(r.o, expected.o, of_output(calls)) == "");
      CHECK(compare(r.lse, expected.lse, of_lse, bound::target, 1) == "");
    }
  }
}

TEST_CASE("prefill then step at every position equals one pass", "[softmax_attention]") {
  constexpr masking masks[] = {{"causal", true, {}, 0},
                               {"window", true, {.left = 5}, 0},
                               {"window and sinks", true, {.left = 5}, 2}};
  constexpr std::int64_t N = 24;
  target::for_each_type<float>([&](auto tag) {
    using T = typename decltype(tag)::type;
    for (const masking& m : masks) {
      attention_case c = case_of(all_calls().front(), N, N);
      c.types.q = c.types.k = c.types.v = c.types.o = seqmix::scalar_type_of<T>;
      m.apply(c);
      attention_problem whole(c);
      const attention_reference expected(whole);
      whole.lengths = index_tensor({0, 0}, false);
      target::residence there(whole);
      const auto q = whole.q.view<const T>();
      const auto k = whole.k.view<const T>();
      const auto v = whole.v.view<const T>();
      seqmix::softmax_attention_options options = whole.options();
      for (std::int64_t cut = 0; cut <= N; ++cut) {
        for (const std::int64_t step : {1, 5, 16}) {
          whole.clear_outputs();
          there.send_outputs();
          for (std::int64_t t = 0; t < N;) {
            const std::int64_t n = t == 0 && cut > 0 ? cut : std::min(step, N - t);
            // The cache holds all keys; of the ones past its length nothing may come through.
            whole.lengths.set({0}, static_cast<double>(t + n));
            whole.lengths.set({1}, static_cast<double>(t + n));
            there.send_indices();
            options.lse = whole.lse.view<float>().slice(2, t, n);
            seqmix::softmax_attention(q.slice(1, t, n),
                                      seqmix::kv_view(k, v, {.lengths = index_view(whole.lengths)}),
                                      whole.o.view<T>().slice(1, t, n), options);
            t += n;
          }
          there.fetch_outputs();
          const std::string problem = verify(whole, expected);
          if (!problem.empty()) {
            CAPTURE(c, cut, step);
            FAIL_CHECK(problem);
          }
        }
      }
    }
  });
  SUCCEED();
}

TEST_CASE("a window of everything is no window", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    attention_case c = case_of(calls, 50, 80);
    attention_problem p(c);
    for (const algorithm how : target::algorithms({algorithm::tiled, algorithm::naive})) {
      run(calls, p, {.how = how});
      const output_bits dense = bits_of(p);
      for (const seqmix::attention_window w :
           {seqmix::attention_window{.left = 80}, {.left = 80, .right = 50}, {.right = 50}}) {
        p.c.window = w;
        run(calls, p, {.how = how});
        CHECK(bits_of(p) == dense);
      }
      // A right bound of 0 is causality.
      p.c.window = {.right = 0};
      run(calls, p, {.how = how});
      const output_bits bounded = bits_of(p);
      p.c.window = {};
      p.c.causal = true;
      run(calls, p, {.how = how});
      CHECK(bits_of(p) == bounded);
      p.c.causal = false;
    }
  }
}
