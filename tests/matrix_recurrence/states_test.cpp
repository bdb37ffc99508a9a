// SPDX-License-Identifier: Apache-2.0
// States on the way, and the denominator and feature maps of linear attention.
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;

namespace {

/// Calls the problem's operator with other options.
template <class F>
void call(const recurrence_problem& p, const seqmix::recurrence_options& options, F&& pick) {
  with_recurrence<float, float, float>(p, [&](const auto& op, const auto& naive, const auto&... x) {
    const auto tuple = std::tie(x...);
    constexpr std::size_t last = sizeof...(x) - 1;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      pick(op, naive)(std::get<I>(tuple)..., options);
    }(std::make_index_sequence<last>{});
  });
}
constexpr auto the_operator = [](const auto& op, const auto&) { return op; };
constexpr auto the_oracle = [](const auto&, const auto& naive) { return naive; };

recurrence_case case_of(recurrence op, std::int64_t T) {
  recurrence_case c{.op = op, .B = 2, .T = T, .H = 1, .HV = 2, .K = 12, .V = 20};
  c.initial = c.final = true;
  return c;
}

/// The final state of a run that ends after `tokens`.
tensor<4> state_after(const recurrence_problem& p, std::int64_t tokens) {
  recurrence_case c = p.c;
  c.T = tokens;
  recurrence_problem one(c);
  for (auto [to, from] :
       {std::pair{&one.q, &p.q}, std::pair{&one.k, &p.k}, std::pair{&one.v, &p.v},
        std::pair{&one.gate, &p.gate}, std::pair{&one.beta, &p.beta}, std::pair{&one.a, &p.a},
        std::pair{&one.b, &p.b}, std::pair{&one.initial, &p.initial}}) {
    to->for_each([&, to = to, from = from](const tensor<4>::index& i) { to->set(i, (*from)[i]); });
  }
  call(one, one.options<float>(), the_operator);
  return one.final;
}

}  // namespace

TEST_CASE("kept states are those of runs that end there, bit for bit", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    for (const std::int64_t T : {0, 1, 3, 40, 70}) {
      for (const std::int64_t every : {1, 7, 32, 100}) {
        recurrence_problem p(case_of(op, T));
        tensor<5> checkpoints(scalar_type::f32, {2, T / every + 1, 2, 12, 20}, layout::padded);
        tensor<5> rollback(scalar_type::f32, {2, 4, 2, 12, 20});
        seqmix::recurrence_options options = p.options<float>();
        options.checkpoints = checkpoints.view<float>();
        options.checkpoint_every = every;
        options.rollback = rollback.view<float>();
        call(p, options, the_operator);
        const std::vector<std::uint64_t> outputs = p.o.all_bits();
        CAPTURE(name(op), T, every);
        bool right = true;
        for (std::int64_t n = 1; n * every <= T; ++n) {
          const tensor<4> state = state_after(p, n * every);
          state.for_each([&](const tensor<4>::index& i) {
            right = right && checkpoints.bits({i[0], n - 1, i[1], i[2], i[3]}) == state.bits(i);
          });
        }
        for (std::int64_t r = 0; r < 4; ++r) {
          const tensor<4> state = state_after(p, std::max<std::int64_t>(T - r, 0));
          state.for_each([&](const tensor<4>::index& i) {
            const tensor<5>::index at{i[0], r, i[1], i[2], i[3]};
            right = right && (r <= T ? rollback.bits(at) == state.bits(i) : rollback.untouched(at));
          });
        }
        checkpoints.for_each([&](const tensor<5>::index& i) {
          right = right && (i[1] < T / every || checkpoints.untouched(i));
        });
        CHECK(right);
        CHECK(checkpoints.gaps_untouched());
        // Keeping them moves no bit of the output.
        call(p, p.options<float>(), the_operator);
        CHECK(p.o.all_bits() == outputs);
        // The oracle keeps the same.
        tensor<5> exact(scalar_type::f64, {2, 4, 2, 12, 20});
        options.rollback = exact.view<double>();
        call(p, options, the_oracle);
        std::vector<double> kept, expected;
        rollback.for_each([&](const tensor<5>::index& i) {
          if (i[1] <= T) {
            kept.push_back(rollback[i]);
            expected.push_back(exact[i]);
          }
        });
        CHECK(compare(kept, expected, tolerance_of(scalar_type::f32), bound::ceiling, 0.05) == "");
      }
    }
  }
}

TEST_CASE("linear attention with a denominator and feature maps",
          "[matrix_recurrence][L01][threads]") {
  using seqmix::feature_map;
  for (const feature_map map : {feature_map::identity, feature_map::elu_plus_1, feature_map::relu,
                                feature_map::relu_squared, feature_map::silu, feature_map::sigmoid,
                                feature_map::exponential}) {
    for (const bool normalise : {false, true}) {
      // Features of either sign can cancel in the denominator: those are left without one.
      if (normalise && (map == feature_map::identity || map == feature_map::silu)) {
        continue;
      }
      recurrence_problem p(case_of(recurrence::linear, 50));
      tensor<3> z(scalar_type::f32, {2, 2, 12}), z_oracle(scalar_type::f64, {2, 2, 12});
      p.initial.for_each(
          [&](const tensor<4>::index& i) { p.initial.set(i, std::fabs(p.initial[i])); });
      tensor<3> z0(scalar_type::f32, {2, 2, 12});
      z0.for_each([&](const tensor<3>::index& i) { z0.set(i, 1); });
      seqmix::recurrence_options options = p.options<float>();
      options.features = map;
      options.normalise = normalise;
      if (normalise) {
        options.initial_normaliser = z0.view<const float>();
        options.final_normaliser = z.view<float>();
      }
      call(p, options, the_operator);
      const std::vector<double> actual = p.o.values();
      const std::vector<double> state = p.final.values();
      pool_executor pool(3, 7);
      if (normalise) {
        options.final_normaliser = z_oracle.view<double>();
      }
      call(p, options, the_oracle);
      CAPTURE(static_cast<int>(map), normalise);
      CHECK(compare(actual, p.o.values(), tolerance_of(scalar_type::f32), bound::ceiling, 0.05) ==
            "");
      CHECK(compare(state, p.final.values(), tolerance_of(scalar_type::f32), bound::ceiling,
                    0.05) == "");
      if (normalise) {
        CHECK(compare(z.values(), z_oracle.values(), tolerance_of(scalar_type::f32)) == "");
      }
    }
  }
}

TEST_CASE("a denominator makes weights that sum to one", "[matrix_recurrence][L01]") {
  recurrence_problem p(case_of(recurrence::linear, 33));
  p.v.for_each([&](const tensor<4>::index& i) { p.v.set(i, 3); });
  seqmix::recurrence_options options;
  options.features = seqmix::feature_map::elu_plus_1;
  options.normalise = true;
  options.normalise_eps = 0;
  call(p, options, the_operator);
  for (const double x : p.o.values()) {
    CHECK(std::fabs(x - 3) < 1e-5);
  }
}

TEST_CASE("by hand: two tokens with a denominator", "[matrix_recurrence][L01]") {
  const std::vector<float> q{1, 2}, k{3, 5}, v{10, 20};
  std::vector<float> o(2), z(1);
  const auto tokens = [](const std::vector<float>& x) {
    return seqmix::view(x.data(), 1, 2, 1, 1);
  };
  seqmix::linear_attention(tokens(q), tokens(k), tokens(v), seqmix::view(o.data(), 1, 2, 1, 1),
                           {.scale = 0.5,
                            .normalise = true,
                            .normalise_eps = 0.5,
                            .final_normaliser = seqmix::view(z.data(), 1, 1, 1)});
  CHECK(std::fabs(o[0] - 0.5F * 1 * 30 / (0.5F * 1 * 3 + 0.5F)) < 1e-5F);
  CHECK(std::fabs(o[1] - 0.5F * 2 * 130 / (0.5F * 2 * 8 + 0.5F)) < 1e-5F);
  CHECK(z[0] == 8);
}

TEST_CASE("denominators: in place, and the same bits with any executor",
          "[matrix_recurrence][threads]") {
  recurrence_problem p(case_of(recurrence::linear, 40));
  tensor<3> z(scalar_type::f32, {2, 2, 12}), before(scalar_type::f32, {2, 2, 12});
  before.fill(5);
  seqmix::recurrence_options options = p.options<float>();
  options.features = seqmix::feature_map::sigmoid;
  options.normalise = true;
  options.initial_normaliser = before.view<const float>();
  options.final_normaliser = z.view<float>();
  call(p, options, the_operator);
  const recurrence_bits once = bits_of(p);
  options.final_normaliser = before.view<float>();
  pool_executor pool(4, 3);
  with_recurrence<float, float, float>(p, [&](const auto&, const auto&, const auto& q,
                                              const auto& k, const auto& v, const auto&...) {
    if constexpr (std::remove_cvref_t<decltype(q)>::rank() == 4) {
      seqmix::linear_attention(q, k, v, p.o.view<float>(), options, {.executor = pool});
    }
  });
  CHECK(bits_of(p) == once);
  CHECK(before.all_bits() == z.all_bits());
}

TEST_CASE("kept states and denominators are refused where they cannot be",
          "[matrix_recurrence][refusals]") {
  std::vector<float> x(4096, 0.25F), o(4096, -7), s(8192, -7);
  using seqmix::view;
  const auto q = view(x.data(), 2, 9, 2, 4);
  const auto out = view(o.data(), 2, 9, 2, 4);
  const auto g = view(x.data(), 2, 9, 2);
  const auto linear = [&](const seqmix::recurrence_options& options) {
    try {
      seqmix::linear_attention(q, q, q, out, options);
    } catch (const seqmix::error& e) {
      return e.argument();
    }
    return std::string();
  };
  const auto gated = [&](const seqmix::recurrence_options& options) {
    try {
      seqmix::gated_delta_rule(q, q, q, g, g, out, options);
    } catch (const seqmix::error& e) {
      return e.argument();
    }
    return std::string();
  };
  const auto states = [&](std::int64_t count) { return view(s.data(), 2, count, 2, 4, 4); };
  CHECK(linear({.checkpoints = states(2)}) == "options.checkpoint_every");
  CHECK(linear({.checkpoints = states(2), .checkpoint_every = 3}) == "options.checkpoints");
  CHECK(linear({.checkpoint_every = 3}) == "options.checkpoint_every");
  CHECK(linear({.rollback = view(s.data(), 2, 3, 2, 4, 5)}) == "options.rollback");
  CHECK(linear({.checkpoints = states(3),
                .checkpoint_every = 3,
                .rollback = view(s.data() + 10, 2, 3, 2, 4, 4)}) == "options.rollback");
  CHECK(linear({.features = static_cast<seqmix::feature_map>(40)}) == "options.features");
  CHECK(linear({.final_normaliser = view(s.data(), 2, 2, 4)}) == "options.final_normaliser");
  CHECK(linear({.normalise = true, .final_normaliser = view(s.data(), 2, 2, 5)}) ==
        "options.final_normaliser");
  CHECK(gated({.features = seqmix::feature_map::relu}) == "options.features");
  CHECK(gated({.normalise = true}) == "options.normalise");
  CHECK(o == std::vector<float>(4096, -7));
  CHECK(s == std::vector<float>(8192, -7));
}
