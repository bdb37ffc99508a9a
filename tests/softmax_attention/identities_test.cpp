// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

using namespace seqmix_test;

namespace {

constexpr algorithm kernels[] = {algorithm::tiled, algorithm::split_kv};

attention_case case_of(std::int64_t T, std::int64_t S) {
  attention_case c{
      .B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = 24, .V = 20, .lse = scalar_type::f32};
  c.types = types_of_all<float>();
  return c;
}

const attention_calls& f32_calls() {
  static const attention_calls calls = calls_for<float>();
  return calls;
}

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
partial attend_to(const attention_problem& whole, const std::vector<std::int64_t>& keys,
                  algorithm how) {
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
  run(f32_calls(), part, {.how = how});
  return {part.o.values(), part.lse.values()};
}

}  // namespace

TEST_CASE("partial results over any partition of the keys merge to the whole",
          "[softmax_attention]") {
  const attention_problem whole(case_of(5, 130));
  const attention_reference expected(whole);
  for (const algorithm how : kernels) {
    for (const int parts : {1, 2, 3, 7, 64}) {
      std::vector<std::vector<std::int64_t>> keys(static_cast<std::size_t>(parts));
      for (std::int64_t j = 0; j < whole.c.S; ++j) {
        // Scattered over the parts; some of the 64 stay empty.
        keys[mix(static_cast<std::uint64_t>(j * 100 + parts)) % static_cast<std::uint64_t>(parts)]
            .push_back(j);
      }
      std::vector<partial> results;
      for (const auto& subset : keys) {
        results.push_back(attend_to(whole, subset, how));
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
        CHECK(compare(p.o, expected.o, tolerance_of(scalar_type::f32)) == "");
        CHECK(compare(p.lse, expected.lse, tolerance_of(scalar_type::f32), bound::target, 1) == "");
      }
    }
  }
}

TEST_CASE("rows without a visible key are zero, with minus infinity", "[softmax_attention]") {
  for (const auto& lengths : {std::pair{20, 3}, std::pair{5, 0}, std::pair{40, 0},
                              std::pair{70, 65}, std::pair{300, 2}}) {
    const std::int64_t T = lengths.first;  // clang 14 captures no structured binding
    const std::int64_t S = lengths.second;
    for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
      attention_case c = case_of(T, S);
      c.causal = true;
      attention_problem p(c);
      if (!can_run(p, how)) {
        continue;
      }
      CAPTURE(c, name(how));
      run(f32_calls(), p, {.how = how});
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

TEST_CASE("one visible key gives its value exactly", "[softmax_attention]") {
  for (const std::int64_t T : {1, 3, 90}) {
    attention_case c = case_of(T, T + 6);
    c.window = {.left = 0, .right = 0};
    attention_problem p(c);
    for (const algorithm how : kernels) {
      if (!can_run(p, how)) {
        continue;
      }
      CAPTURE(T, name(how));
      run(f32_calls(), p, {.how = how});
      bool exact = true;
      p.o.for_each([&](const tensor<4>::index& i) {
        exact &= p.o[i] == p.v[{i[0], i[1] + 6, i[2] / 2, i[3]}];
      });
      CHECK(exact);
    }
  }
}

TEST_CASE("a constant added to all logits of a row moves nothing but the log-sum-exp",
          "[softmax_attention]") {
  for (const double shift : {5.0, -200.0, 3000.0}) {
    attention_case c = case_of(30, 70);
    c.scale = 0.2;
    attention_problem p(c);
    // The last dimension is the same for all keys, so that it adds `shift` to every logit.
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
    with_last(shift / 0.2);
    for (const algorithm how : kernels) {
      CAPTURE(shift, name(how));
      run(f32_calls(), p, {.how = how});
      // Logits carry the rounding of their size.
      const double size = 1 + std::fabs(shift);
      const tolerance t{1e-7 * size + 1e-6, 1e-7 * size + 1e-6, 0, 1e-6 * size + 1e-5};
      CHECK(compare(p.o.values(), expected.o, t) == "");
      std::vector<double> lse = p.lse.values();
      for (double& x : lse) {
        x -= shift;
      }
      CHECK(compare(lse, expected.lse, t, bound::target, 1) == "");
    }
  }
}

TEST_CASE("logits of magnitude 1e4 stay finite", "[softmax_attention]") {
  for (const double magnitude : {1e4, 3e5}) {
    attention_case c = case_of(40, 90);
    c.magnitude = magnitude;
    c.causal = true;
    attention_problem p(c);
    const attention_reference expected(p);
    for (const algorithm how : kernels) {
      CAPTURE(magnitude, name(how));
      run(f32_calls(), p, {.how = how});
      bool finite = true;
      bool inside = true;
      p.o.for_each([&](const tensor<4>::index& i) {
        finite &= std::isfinite(p.o[i]);
        inside &= std::fabs(p.o[i]) <= 3.47;  // the largest |v|: outputs are convex combinations
      });
      CHECK(finite);
      CHECK(inside);
      CHECK(compare(p.lse.values(), expected.lse, tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("logits that differ by more than any exponent leave the largest", "[softmax_attention]") {
  attention_case c = case_of(20, 50);
  c.D = 1;
  c.scale = 1.0;
  attention_problem p(c);
  p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, 1000.0); });
  p.k.for_each([&](const tensor<4>::index& i) {
    p.k.set(i, i[1] == 37 ? 1.0 : -static_cast<double>(i[1]));
  });
  for (const algorithm how : kernels) {
    CAPTURE(name(how));
    run(f32_calls(), p, {.how = how});
    bool exact = true;
    p.o.for_each(
        [&](const tensor<4>::index& i) { exact &= p.o[i] == p.v[{i[0], 37, i[2] / 2, i[3]}]; });
    CHECK(exact);
  }
}

TEST_CASE("equal values give that value, however many keys there are", "[softmax_attention]") {
  // Sums of equal terms round the same way at every step: one chain over all keys would drift.
  for (const std::int64_t S : {500, 5000, 50000}) {
    attention_case c{.T = 24, .S = S, .D = 4, .V = 16};
    c.types = types_of_all<float>();
    attention_problem p(c);
    p.v.for_each(
        [&](const tensor<4>::index& i) { p.v.set(i, 1.3 + 0.1 * static_cast<double>(i[3])); });
    std::vector<double> expected;
    p.o.for_each([&](const tensor<4>::index& i) { expected.push_back(p.v[{0, 0, 0, i[3]}]); });
    for (const bool equal_scores : {false, true}) {
      if (equal_scores) {
        p.k.for_each([&](const tensor<4>::index& i) { p.k.set(i, 0.5); });
      }
      for (const algorithm how : kernels) {
        run(f32_calls(), p, {.how = how});
        CAPTURE(S, equal_scores, name(how));
        CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32), bound::ceiling) ==
              "");
      }
    }
  }
}

TEST_CASE("permuting keys changes only rounding", "[softmax_attention]") {
  const attention_problem p(case_of(33, 300));
  std::vector<std::int64_t> order(300);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[mix(i) % i]);
  }
  const attention_reference expected(p);
  for (const algorithm how : kernels) {
    CAPTURE(name(how));
    const partial r = attend_to(p, order, how);
    CHECK(compare(r.o, expected.o, tolerance_of(scalar_type::f32)) == "");
    CHECK(compare(r.lse, expected.lse, tolerance_of(scalar_type::f32), bound::target, 1) == "");
  }
}

TEST_CASE("prefill then step at every position equals one pass", "[softmax_attention]") {
  struct mask {
    bool causal;
    seqmix::attention_window window;
    std::int64_t sinks;
  };
  constexpr std::int64_t N = 24;
  for (const mask& m :
       {mask{true, {}, 0}, mask{true, {.left = 5}, 0}, mask{true, {.left = 5}, 2}}) {
    attention_case c = case_of(N, N);
    c.causal = m.causal;
    c.window = m.window;
    c.sinks = m.sinks;
    attention_problem whole(c);
    const attention_reference expected(whole);
    const auto q = whole.q.view<const float>();
    const auto k = whole.k.view<const float>();
    const auto v = whole.v.view<const float>();
    seqmix::softmax_attention_options options = whole.options();
    for (std::int64_t cut = 0; cut <= N; ++cut) {
      for (const std::int64_t step : {1, 5, 16}) {
        whole.clear_outputs();
        for (std::int64_t t = 0; t < N;) {
          const std::int64_t n = t == 0 && cut > 0 ? cut : std::min(step, N - t);
          // The cache holds all keys; of the ones past its length nothing may come through.
          std::vector<std::int32_t> lengths(2, static_cast<std::int32_t>(t + n));
          options.lse = whole.lse.view<float>().slice(2, t, n);
          seqmix::softmax_attention(
              q.slice(1, t, n), seqmix::kv_view(k, v, {.lengths = seqmix::view(lengths.data(), 2)}),
              whole.o.view<float>().slice(1, t, n), options);
          t += n;
        }
        const std::string problem = verify(whole, expected);
        if (!problem.empty()) {
          CAPTURE(c, cut, step);
          FAIL_CHECK(problem);
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("a window of everything is no window", "[softmax_attention]") {
  attention_case c = case_of(50, 80);
  attention_problem p(c);
  for (const algorithm how : {algorithm::tiled, algorithm::naive}) {
    run(f32_calls(), p, {.how = how});
    const output_bits dense = bits_of(p);
    for (const seqmix::attention_window w :
         {seqmix::attention_window{.left = 80}, {.left = 80, .right = 50}, {.right = 50}}) {
      p.c.window = w;
      run(f32_calls(), p, {.how = how});
      CHECK(bits_of(p) == dense);
    }
    // A right bound of 0 is causality.
    p.c.window = {.right = 0};
    run(f32_calls(), p, {.how = how});
    const output_bits bounded = bits_of(p);
    p.c.window = {};
    p.c.causal = true;
    run(f32_calls(), p, {.how = how});
    CHECK(bits_of(p) == bounded);
    p.c.causal = false;
  }
}
