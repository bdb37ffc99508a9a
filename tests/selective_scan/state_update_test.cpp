// SPDX-License-Identifier: Apache-2.0
// Steps of the selective scan, from a state to the same state.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/errors.hpp"
#include "support/pairwise.hpp"
#include "support/scan_problem.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;
using seqmix::bf16;

namespace {

/// The problem's initial states, which a call updates. Those of int8 have their scales beside them.
struct update_problem {
  scan_problem p;
  bool single;  // tensors without a token axis
  std::int64_t block = 0;
  std::vector<std::int8_t> bytes;
  std::vector<float> scale;

  explicit update_problem(const scan_case& c, bool one_token = false, std::int64_t of_int8 = 0)
      : p(c), single(one_token), block(of_int8) {
    if (block == 0) {
      return;
    }
    // The problem starts from what int8 can hold.
    bytes.resize(static_cast<std::size_t>(p.initial.size()));
    scale.resize(bytes.size() / static_cast<std::size_t>(block));
    std::size_t at = 0;
    p.initial.for_each([&](const tensor<4>::index& i) {
      const std::size_t k = at / static_cast<std::size_t>(block);
      scale[k] = static_cast<float>(1 + k % 5) / 64;
      bytes[at] = static_cast<std::int8_t>(p.initial[i] * 30);
      p.initial.set(i, bytes[at] * static_cast<double>(scale[k]));
      ++at;
    });
  }

  seqmix::selective_state_update_options options() const {
    const auto o = p.options<float>();
    seqmix::selective_state_update_options r{.D = o.D,
                                             .delta_bias = o.delta_bias,
                                             .delta_softplus = o.delta_softplus,
                                             .slots = o.initial_slots};
    return r;
  }

  /// Calls f(state, u, delta, A, B, C, y, options).
  template <class T, class TO, class S, class F>
  void with(F&& f) {
    const auto call = [&](const auto& state, auto options, auto one) {
      constexpr bool no_time = decltype(one)::value;
      const auto rows = [&]<class E>(const tensor<3>& x, E*) {
        if constexpr (no_time) {
          const auto v = x.view<E>();
          return seqmix::tensor_view<E, 2>(v.data_handle(), {v.extent(0), v.extent(2)},
                                           {v.stride(0), v.stride(2)});
        } else {
          return x.view<E>();
        }
      };
      const auto projection = [&](const tensor<5>& x) {
        const auto v = axes_of<const T, 4>(x, 0);
        if constexpr (no_time) {
          return seqmix::tensor_view<const T, 3>(v.data_handle(),
                                                 {v.extent(0), v.extent(2), v.extent(3)},
                                                 {v.stride(0), v.stride(2), v.stride(3)});
        } else {
          return v;
        }
      };
      const T* in = nullptr;
      TO* out = nullptr;
      if (p.c.gate) {
        options.z = rows(p.z, in);
      }
      const auto a = axes_of<const T, 2>(p.A, 0);
      if (p.c.own == own_rows::none) {
        f(state, rows(p.u, in), rows(p.delta, in), a, projection(p.b), projection(p.c_rows),
          rows(p.y, out), options);
      } else {
        f(state, rows(p.u, in), rows(p.delta, in), a, axes_of<const T, 2>(p.b, 2),
          projection(p.c_rows), rows(p.y, out), options);
      }
    };
    const auto with_state = [&](const auto& state, const auto& options) {
      single ? call(state, options, std::true_type{}) : call(state, options, std::false_type{});
    };
    auto o = options();
    if (block == 0) {
      with_state(axes_of<S, 3>(p.initial, 0), o);
    } else {
      const std::int64_t n = p.initial.extent(0);
      o.state_scale = seqmix::view(scale.data(), n, p.c.D, p.c.N / block);
      with_state(seqmix::view(bytes.data(), n, p.c.D, p.c.N), o);
    }
  }

  template <class T = float, class TO = T, class S = float>
  void run(const seqmix::context& ctx = {}) {
    with<T, TO, S>([&](const auto&... x) { seqmix::selective_state_update(x..., ctx); });
  }

  /// Runs and compares with the definition.
  template <class T = float, class TO = T, class S = float>
  std::string verify(const seqmix::context& ctx = {}) {
    p.c.final = true;
    const tensor<4> before = p.initial;
    run<T, TO, S>(ctx);
    const tensor<4> after = p.initial;
    p.initial = before;
    if (block == 0) {
      // What no sequence uses must be as it was; the rest is what `final` should be.
      bool kept = after.gaps_untouched();
      p.final = tensor<4>(p.c.state, before.extents());
      p.final.for_each([&](const tensor<4>::index& i) {
        if (std::find(p.slot.begin(), p.slot.end(), i[0]) == p.slot.end()) {
          kept = kept && after.bits(i) == before.bits(i);
        } else {
          p.final.set(i, after[i]);
        }
      });
      return p.verify() + (kept ? "" : "; an entry that no sequence has was written");
    }
    p.c.final = false;
    const std::string outputs = p.verify();
    return outputs + int8_fault(before);
  }

 private:
  std::string int8_fault(const tensor<4>& before) {
    p.c.final = true;
    std::vector<double> y, exact;
    p.expect(y, exact);
    p.c.final = false;
    const auto n = static_cast<std::size_t>(block);
    std::size_t entry = 0;
    const std::vector<double> old = before.values();
    const auto size = static_cast<std::size_t>(p.c.D * p.c.N);
    for (std::size_t first = 0; first < bytes.size(); first += n) {
      entry = first / size;
      const bool used =
          std::find(p.slot.begin(), p.slot.end(), static_cast<std::int64_t>(entry)) != p.slot.end();
      double largest = 0;
      for (std::size_t i = first; i < first + n; ++i) {
        largest = std::fmax(largest, std::fabs(exact[i]));
      }
      for (std::size_t i = first; i < first + n; ++i) {
        const double now = bytes[i] * static_cast<double>(scale[i / n]);
        const double want = used ? exact[i] : old[i];
        if (!(std::fabs(now - want) <= (used ? largest / 254 * 1.0002 + 2e-6 * largest : 0))) {
          return "; state " + std::to_string(i) + " is " + std::to_string(now) + " instead of " +
                 std::to_string(want) + ", the largest " + std::to_string(largest);
        }
      }
    }
    return "";
  }
};

scan_case case_of(std::int64_t B, std::int64_t T, std::int64_t D, std::int64_t N) {
  scan_case c{.B = B, .T = T, .D = D, .N = N};
  c.initial = true;
  return c;
}

}  // namespace

TEST_CASE("updates of states against the definition", "[selective_state_update][R01]") {
  constexpr std::int64_t times[] = {1, 2, 7, 8, 9, 20};
  constexpr std::int64_t groups_of[][2] = {{1, 1}, {5, 1}, {33, 1}, {64, 1}, {130, 1}, {12, 6}};
  constexpr std::int64_t sizes[] = {1, 7, 8, 16, 24, 64, 128, 256};
  constexpr layout layouts[] = {layout::dense,    layout::padded,     layout::strided,
                                layout::reversed, layout::misaligned, layout::head_first};
  const test_plan plan = pairwise_plan({6, 6, 8, 2, 5, 2, 4, 6, 6}, 5);
  REQUIRE(plan.size() >= 48);
  for (const std::vector<int>& level : plan) {
    const auto at = [&](std::size_t i) { return static_cast<std::size_t>(level[i]); };
    scan_case c = case_of(3, times[at(0)], groups_of[at(1)][0], sizes[at(2)]);
    c.G = groups_of[at(1)][1];
    c.own = level[3] == 1 ? own_rows::b : own_rows::none;
    c.pooled = level[5] == 1;
    c.softplus = level[6] != 1;
    c.skip = level[6] != 2;
    c.gate = level[6] < 2;
    if (!c.softplus) {
      c.rate = -0.05;
    }
    c.inputs = layouts[at(7)];
    c.outputs = layouts[at(8)];
    c.states = layouts[at(8)];
    const bool single = c.T == 1 && level[6] % 2 == 0;
    std::string fault;
    if (level[4] == 0) {
      fault = update_problem(c, single).verify();
    } else if (level[4] == 1) {
      c.type = c.output = c.state = scalar_type::f64;
      fault = update_problem(c, single).verify<double, double, double>();
    } else if (level[4] == 2) {
      c.type = c.output = c.state = scalar_type::bf16;
      fault = update_problem(c, single).verify<bf16, bf16, bf16>();
    } else {
      const std::int64_t block = level[4] == 4 && c.N % 8 == 0 ? c.N / 2 : c.N;
      fault = update_problem(c, single, block).verify();
    }
    CAPTURE(c, level[4], single);
    CHECK(fault == "");
  }
}

TEST_CASE("the oracle of updates against the definition", "[selective_state_update][R01]") {
  for (const std::int64_t block : {0, 8, 16}) {
    for (const bool single : {true, false}) {
      scan_case c = case_of(3, single ? 1 : 6, 20, 16);
      c.pooled = true;
      CHECK(update_problem(c, single, block).verify({.pin = {.implementation = "naive"}}) == "");
    }
  }
}

TEST_CASE("updates continue a scan", "[selective_state_update][R01]") {
  scan_case c = case_of(2, 24, 40, 16);
  c.final = true;
  scan_problem whole(c);
  run_scan(whole);
  update_problem steps(c);
  steps.run();
  CHECK(compare(steps.p.y.values(), whole.y.values(), tolerance_of(scalar_type::f32)) == "");
  CHECK(compare(steps.p.initial.values(), whole.final.values(), tolerance_of(scalar_type::f32)) ==
        "");
}

TEST_CASE("a token at a time gives the bits of all at once", "[selective_state_update][R01]") {
  for (const std::int64_t N : {16, 7}) {
    scan_case c = case_of(2, 11, 40, N);
    update_problem whole(c);
    whole.run();
    update_problem steps(c);
    bool same = true;
    for (std::int64_t t = 0; t < c.T; ++t) {
      scan_case one = c;
      one.T = 1;
      update_problem step(one, true);
      step.p.initial = steps.p.initial;
      step.p.A = whole.p.A;
      for (auto [to, from] :
           {std::pair{&step.p.u, &whole.p.u}, std::pair{&step.p.delta, &whole.p.delta},
            std::pair{&step.p.z, &whole.p.z}}) {
        to->for_each([&, to = to, from = from](const tensor<3>::index& i) {
          to->set(i, (*from)[{i[0], t, i[2]}]);
        });
      }
      for (auto [to, from] :
           {std::pair{&step.p.b, &whole.p.b}, std::pair{&step.p.c_rows, &whole.p.c_rows}}) {
        to->for_each([&, to = to, from = from](const tensor<5>::index& i) {
          to->set(i, (*from)[{i[0], t, i[2], i[3], i[4]}]);
        });
      }
      step.run();
      steps.p.initial = step.p.initial;
      step.p.y.for_each([&](const tensor<3>::index& i) {
        same = same && step.p.y.bits(i) == whole.p.y.bits({i[0], t, i[2]});
      });
    }
    CHECK(same);
    CHECK(steps.p.initial.all_bits() == whole.p.initial.all_bits());
  }
}

TEST_CASE("what bits of an update depend on", "[selective_state_update][threads]") {
  for (const std::int64_t block : {0, 5}) {
    const scan_case c = case_of(4, 3, 150, 20);
    update_problem p(c, false, block);
    p.run();
    for (const int threads : {2, 3}) {
      update_problem other(c, false, block);
      pool_executor pool(threads, 7);
      other.run({.executor = pool});
      CHECK(other.p.y.all_bits() == p.p.y.all_bits());
      CHECK(other.p.initial.all_bits() == p.p.initial.all_bits());
      CHECK(other.bytes == p.bytes);
      CHECK(other.scale == p.scale);
    }
    for (const layout memory : {layout::padded, layout::strided, layout::reversed,
                                layout::head_first, layout::misaligned}) {
      scan_case other_case = c;
      other_case.inputs = other_case.outputs = other_case.states = memory;
      update_problem other(other_case, false, block);
      other.run();
      CAPTURE(name(memory));
      CHECK(other.p.y.all_bits() == p.p.y.all_bits());
      CHECK(other.bytes == p.bytes);
      CHECK((block != 0 || other.p.initial.all_bits() == p.p.initial.all_bits()));
    }
  }
}

TEST_CASE("int8 blocks: strides, ties, zeros, tiny and non-finite numbers",
          "[selective_state_update]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::int64_t D = 1, N = 20;
  // Nothing decays and nothing is written: the state is quantised as it is.
  const std::vector<float> zeros(2 * N, 0.0f);
  std::vector<float> y(D);
  const auto update = [&](auto state, std::vector<float>& scale) {
    seqmix::selective_state_update(
        state, seqmix::view(zeros.data(), 1, D), seqmix::view(zeros.data(), 1, D),
        seqmix::view(zeros.data(), D, N), seqmix::view(zeros.data(), 1, 1, N),
        seqmix::view(zeros.data(), 1, 1, N), seqmix::view(y.data(), 1, D),
        {.state_scale = seqmix::view(scale.data(), 1, D, static_cast<std::int64_t>(scale.size()))});
  };
  const auto dense = [](std::vector<std::int8_t>& q) { return seqmix::view(q.data(), 1, D, N); };
  std::vector<std::int8_t> q(N);
  for (std::int64_t n = 0; n < N; ++n) {
    q[static_cast<std::size_t>(n)] = static_cast<std::int8_t>(n * 6 - 50);
  }
  SECTION("the largest becomes 127, halves go to even, every second place") {
    // Of 4 and a scale of 1: 127 / 4 = 31.75; 2 is 63.5, which is 64; 1 is 31.75.
    std::vector<float> scale = {1, 1, 1, 1};
    for (std::size_t n = 0; n < q.size(); ++n) {
      q[n] = static_cast<std::int8_t>(n % 5 == 0 ? -4 : n % 5 == 1 ? 2 : 1);
    }
    std::vector<std::int8_t> apart(2 * N, std::int8_t{99});
    for (std::size_t n = 0; n < q.size(); ++n) {
      apart[2 * n] = q[n];
    }
    std::vector<float> same = scale;
    update(dense(q), scale);
    CHECK(q[0] == -127);
    CHECK(q[1] == 64);
    CHECK(q[2] == 32);
    CHECK(scale[3] == 4.0f / 127);
    update(seqmix::tensor_view<std::int8_t, 3>(apart.data(), {std::int64_t{1}, D, N},
                                               {2 * N, 2 * N, std::int64_t{2}}),
           same);
    for (std::size_t n = 0; n < q.size(); ++n) {
      CHECK(apart[2 * n] == q[n]);
      CHECK(apart[2 * n + 1] == 99);
    }
    CHECK(same == scale);
    // Once there, it stays.
    const auto once = q;
    update(dense(q), scale);
    CHECK(q == once);
  }
  SECTION("zeros and what is too small to divide by") {
    std::vector<float> scale = {0, 1e-38f};
    update(dense(q), scale);
    CHECK(q == std::vector<std::int8_t>(N, std::int8_t{0}));
    CHECK(scale == std::vector<float>{0, 0});
  }
  SECTION("a block that is not finite is NaN, and no other") {
    std::vector<float> scale = {1, nan, 1, std::numeric_limits<float>::infinity()};
    const auto before = q;
    update(dense(q), scale);
    CHECK(std::isnan(scale[1]));
    CHECK(std::isnan(scale[3]));
    for (std::size_t n = 0; n < q.size(); ++n) {
      const std::size_t k = n / 5;
      if (k % 2 == 0) {
        CHECK(std::fabs(static_cast<float>(q[n]) * scale[k] - static_cast<float>(before[n])) <
              0.25f);
      } else {
        CHECK(q[n] == 0);
      }
    }
  }
}

TEST_CASE("non-finite values stay in their channel of an update", "[selective_state_update]") {
  const scan_case c = case_of(2, 3, 40, 16);
  update_problem clean(c);
  clean.run();
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const int where : {0, 1, 2, 3}) {
      update_problem p(c);
      if (where == 3) {
        p.p.initial.set({1, 21, 5, 0}, bad);
      } else {
        (where == 0 ? p.p.u : where == 1 ? p.p.delta : p.p.z).set({1, 1, 21}, bad);
      }
      p.run();
      bool same = true;
      p.p.y.for_each([&](const tensor<3>::index& i) {
        const bool sees = i[0] == 1 && i[2] == 21 && i[1] >= (where == 3 ? 0 : 1);
        same = same && (sees || p.p.y.bits(i) == clean.p.y.bits(i));
      });
      p.p.initial.for_each([&](const tensor<4>::index& i) {
        same =
            same && ((i[0] == 1 && i[1] == 21) || p.p.initial.bits(i) == clean.p.initial.bits(i));
      });
      CAPTURE(bad, where);
      CHECK(same);
      CHECK((where == 1 || !std::isfinite(p.p.y[{1, 1, 21}])));
    }
  }
}

TEST_CASE("a warm update allocates nothing and says what it runs", "[selective_state_update]") {
  update_problem p(case_of(3, 2, 70, 20), false, 5);
  p.with<float, float, float>([&](const auto&... x) {
    seqmix::selective_state_update(x...);
    const long before = allocations;
    seqmix::selective_state_update(x...);
    const long after = allocations;
    CHECK(after == before);
    CHECK(seqmix::selective_state_update.explain(x...).implementation == "states");
    guarded_workspace scratch(seqmix::selective_state_update.workspace_bytes(x...), 3);
    seqmix::selective_state_update(x..., seqmix::context{.workspace = scratch.span()});
    CHECK(scratch.guards_untouched());
  });
}

TEST_CASE("states of updates beyond 2^31 elements", "[selective_state_update]") {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 4099;
  const sparse_memory memory((static_cast<std::size_t>(far) * 2 + 100) * sizeof(float));
  if (memory.data() == nullptr) {
    WARN("not run: the system grants no address space");
    return;
  }
  const scan_case c = case_of(3, 1, 3, 3);
  update_problem p(c);
  p.run();
  for (std::size_t axis = 0; axis < 3; ++axis) {
    std::int64_t strides[3] = {9, 3, 1};
    strides[axis] = far;
    const seqmix::tensor_view<float, 3> state(memory.data(), {3, 3, 3},
                                              {strides[0], strides[1], strides[2]});
    update_problem other(c);
    other.p.initial.for_each([&](const tensor<4>::index& i) {
      state(i[0], i[1], i[2]) = static_cast<float>(other.p.initial[i]);
    });
    other.with<float, float, float>(
        [&](const auto&, const auto&... x) { seqmix::selective_state_update(state, x...); });
    bool same = other.p.y.all_bits() == p.p.y.all_bits();
    p.p.initial.for_each([&](const tensor<4>::index& i) {
      same = same && static_cast<double>(state(i[0], i[1], i[2])) == p.p.initial[i];
    });
    CAPTURE(axis);
    CHECK(same);
  }
}

TEST_CASE("updates that break their contract are refused", "[selective_state_update][errors]") {
  constexpr std::int64_t B = 2, D = 6, N = 4;
  std::vector<float> in(500, 0.5f), state(500, -7.0f), out(500, -7.0f), scale(500, 1.0f);
  std::vector<std::int8_t> bytes(500, std::int8_t{3});
  std::vector<std::int32_t> whole(500, 1);
  const auto u = seqmix::view(in.data(), B, D);
  const auto b = seqmix::view(in.data(), B, 1, N);
  const auto refused = [&](const char* argument, const char* expected, const char* actual,
                           const auto& h, const seqmix::selective_state_update_options& o,
                           const auto& y) {
    const auto error = [&](const auto& f) {
      return error_of([&] { f(h, u, u, seqmix::view(in.data(), D, N), b, b, y, o); });
    };
    for (const seqmix::error& e :
         {error(seqmix::selective_state_update), error(seqmix::selective_state_update.explain),
          error(seqmix::selective_state_update.workspace_bytes),
          error(seqmix::naive_selective_state_update)}) {
      check_error(e, "selective_state_update", argument, expected, actual);
    }
    CHECK(state == std::vector<float>(500, -7.0f));
    CHECK(out == std::vector<float>(500, -7.0f));
    CHECK(bytes == std::vector<std::int8_t>(500, std::int8_t{3}));
  };
  const auto y = seqmix::view(out.data(), B, D);
  const auto h = seqmix::view(state.data(), B, D, N);
  const auto q = seqmix::view(bytes.data(), B, D, N);
  refused("state", "[B, D, N] = [2, 6, 4]", "[3, 6, 4]", seqmix::view(state.data(), 3, D, N), {},
          y);
  refused("y", "[B, T, D] = [2, 1, 6]", "[2, 1, 5]", h, {}, seqmix::view(out.data(), B, 5));
  refused("y", "memory apart from state's", "overlapping", h, {},
          seqmix::view(state.data() + 40, B, D));
  refused("state", "memory apart from u's", "overlapping", seqmix::view(in.data() + 3, B, D, N), {},
          y);
  refused("options.state_scale", "the state is not of int8", "a value", h,
          {.state_scale = seqmix::view(scale.data(), B, D, 1)}, y);
  refused("options.state_scale", "element type f32", "none", q, {}, y);
  refused("options.state_scale", "element type f32", "i32", q,
          {.state_scale = seqmix::view(whole.data(), B, D, 1)}, y);
  refused("options.state_scale", "blocks that divides N = 4", "3", q,
          {.state_scale = seqmix::view(scale.data(), B, D, 3)}, y);
  refused("options.state_scale", "[B or pool, D, N / block] = [2, 6, 2]", "[2, 5, 2]", q,
          {.state_scale = seqmix::view(scale.data(), B, 5, 2)}, y);
  refused("options.state_scale", "memory apart from u's", "overlapping", q,
          {.state_scale = seqmix::view(in.data(), B, D, 1)}, y);
  static const std::int32_t slots[] = {1, 1, 2, 0};
  refused("options.slots", "each entry of the pool at most once", "= 1", h,
          {.slots = seqmix::view(slots, 2)}, y);
  refused("options.slots", "entries of a pool of 2", "= 2", h,
          {.slots = seqmix::view(slots + 2, 2)}, y);
}
