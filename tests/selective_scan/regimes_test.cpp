// SPDX-License-Identifier: Apache-2.0
// The selective scan at the ends of its ranges, its states, and what its bits depend on.
#include <cmath>
#include <limits>
#include <seqmix/common/bidirectional.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/errors.hpp"
#include "support/scan_problem.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// Tokens [first, first + count) of p, from `state` on.
scan_problem part_of(const scan_problem& p, std::int64_t first, std::int64_t count,
                     const tensor<4>* state) {
  scan_case c = p.c;
  c.T = count;
  c.initial = c.initial || state != nullptr;
  scan_problem part(c);
  for (auto [to, from] :
       {std::pair{&part.u, &p.u}, std::pair{&part.delta, &p.delta}, std::pair{&part.z, &p.z}}) {
    to->for_each([&, to = to, from = from](const tensor<3>::index& i) {
      to->set(i, (*from)[{i[0], i[1] + first, i[2]}]);
    });
  }
  for (auto [to, from] : {std::pair{&part.b, &p.b}, std::pair{&part.c_rows, &p.c_rows}}) {
    to->for_each([&, to = to, from = from](const tensor<5>::index& i) {
      to->set(i, (*from)[{i[0], i[1] + first, i[2], i[3], i[4]}]);
    });
  }
  part.A = p.A;
  if (state != nullptr) {
    part.initial.for_each([&](const tensor<4>::index& i) { part.initial.set(i, (*state)[i]); });
  } else {
    part.initial = p.initial;
  }
  return part;
}

/// Reverses the tokens of a tensor.
template <std::size_t Rank>
void flip(tensor<Rank>& x) {
  const tensor<Rank> copy = x;
  x.for_each([&](const typename tensor<Rank>::index& i) {
    auto from = i;
    from[1] = x.extent(1) - 1 - i[1];
    x.set(i, copy[from]);
  });
}

}  // namespace

TEST_CASE("steps and rates at the ends of their ranges", "[selective_scan][R01]") {
  for (const double rate : {0.0, -1e-6, -1e-3, -1.0, -50.0, -1e4, -1e30}) {
    for (const double step : {-200.0, -30.0, -6.0, 19.9, 20.0, 20.1, 1e4, 1e18}) {
      for (const bool softplus : {true, false}) {
        if (!softplus && step < 0) {
          continue;  // grows
        }
        scan_case c{.B = 1, .T = 70, .D = 20, .N = 7};
        c.initial = c.final = true;
        c.rate = rate;
        c.step = step;
        c.softplus = softplus;
        scan_problem p(c);
        // The spread of delta around the step would cross zero.
        p.delta.for_each([&](const tensor<3>::index& i) {
          p.delta.set(i, step == 20 || !softplus ? step : p.delta[i]);
        });
        run_scan(p);
        CAPTURE(c);
        CHECK(p.verify() == "");
      }
    }
  }
}

TEST_CASE("softplus is the identity above 20", "[selective_scan][R01]") {
  scan_case c{.T = 4, .D = 8, .N = 1};
  c.skip = c.gate = c.bias = false;
  c.type = c.output = c.state = scalar_type::f64;
  for (const double delta : {19.0, 20.0, 20.5, 25.0, 800.0}) {
    scan_problem p(c);
    p.A.for_each([&](const tensor<3>::index& i) { p.A.set(i, 0); });
    for (tensor<3>* x : {&p.u, &p.delta}) {
      x->for_each([&](const tensor<3>::index& i) { x->set(i, x == &p.u ? 1 : delta); });
    }
    for (tensor<5>* x : {&p.b, &p.c_rows}) {
      x->for_each([&](const tensor<5>::index& i) { x->set(i, 1); });
    }
    run_scan<double, double, double>(p);
    const double expected = delta > 20 ? delta : delta + std::log1p(std::exp(-delta));
    CAPTURE(delta);
    CHECK(std::fabs(p.y[{0, 0, 3}] - expected) <= 1e-15 * expected);
    CHECK((p.y[{0, 0, 3}] == delta) == (delta > 20));
  }
}

TEST_CASE("a state that lasts for many tokens keeps its accuracy", "[selective_scan][R01]") {
  // Rounded decays of 1 - 1e-4 would be off by up to 3e-8 each, or 3e-4 of their rate.
  for (const bool is_complex : {false, true}) {
    scan_case c{.T = 6000, .D = 16, .N = 2, .is_complex = is_complex};
    c.softplus = c.skip = c.gate = c.bias = false;
    c.rate = -1;
    scan_problem p(c);
    p.delta.for_each([&](const tensor<3>::index& i) { p.delta.set(i, 1.1e-4); });
    p.b.for_each([&](const tensor<5>::index& i) { p.b.set(i, 1); });
    p.u.for_each([&](const tensor<3>::index& i) { p.u.set(i, 1 + 0.1 * p.u[i]); });
    run_scan(p);
    CAPTURE(is_complex);
    CHECK(p.verify() == "");
  }
}

TEST_CASE("all state sizes, complex or not", "[selective_scan][R01]") {
  for (const std::int64_t N : {1, 2, 3, 4, 5, 7, 16, 64, 128, 256}) {
    for (const bool is_complex : {false, true}) {
      scan_case c{.B = 1, .T = 37, .D = 20, .N = N, .is_complex = is_complex};
      c.initial = c.final = true;
      scan_problem p(c);
      run_scan(p);
      CAPTURE(c);
      CHECK(p.verify() == "");
    }
  }
}

TEST_CASE("a reverse scan is a forward one of flipped tokens", "[selective_scan][R01]") {
  for (const bool is_complex : {false, true}) {
    scan_case c{.B = 2, .T = 45, .D = 20, .N = 5, .is_complex = is_complex};
    c.initial = c.final = c.reverse = true;
    scan_problem p(c);
    run_scan(p);
    scan_problem other(c);
    other.c.reverse = false;
    flip(other.u), flip(other.delta), flip(other.z), flip(other.b), flip(other.c_rows);
    run_scan(other);
    flip(other.y);
    CHECK(p.y.all_bits() == other.y.all_bits());
    CHECK(p.final.all_bits() == other.final.all_bits());
  }
}

TEST_CASE("outputs are added to what y holds, and both directions to each other, before the gate",
          "[selective_scan][R01]") {
  for (const layout outputs : {layout::dense, layout::head_first}) {
    for (const bool packed : {false, true}) {
      scan_case c{.B = 2, .T = 45, .D = 20, .N = 5, .packed = packed};
      c.outputs = outputs;
      const auto result = [&](bool reverse, bool gate, auto&& call) {
        scan_case other = c;
        other.reverse = reverse;
        other.gate = gate;
        scan_problem p(other);
        p.y.fill(99);
        with_scan<float, float, float>(p, call);
        // What lies behind the last packed sequence is nobody's.
        std::vector<double> values = p.y.values();
        values.resize(packed ? static_cast<std::size_t>(p.starts.back() * c.D) : values.size());
        return values;
      };
      const auto plain = [](const auto&... x) { seqmix::selective_scan(x...); };
      const auto added = [](bool naive) {
        return [naive](const auto& u, const auto& delta, const auto& A, const auto& B,
                       const auto& C, const auto& y, auto options) {
          options.accumulate = true;
          naive ? seqmix::naive_selective_scan(u, delta, A, B, C, y, options)
                : seqmix::selective_scan(u, delta, A, B, C, y, options);
        };
      };
      const std::vector<double> ahead = result(false, false, plain);
      const std::vector<double> back = result(true, false, plain);
      const scan_problem given(c);
      tensor<3> held = given.y;
      held.fill(99);
      const std::vector<double> before = held.values();
      std::vector<double> z;
      given.z.for_each([&](const tensor<3>::index& i) {
        z.push_back(given.z[i] / (1 + std::exp(-given.z[i])));
      });
      std::vector<double> sum(ahead.size());
      std::vector<double> both(ahead.size());
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sum[i] = (before[i] + ahead[i]) * z[i];
        both[i] = (ahead[i] + back[i]) * z[i];
      }
      const tolerance close = tolerance_of(scalar_type::f32);
      CAPTURE(name(outputs), packed);
      CHECK(compare(result(false, true, added(false)), sum, close) == "");
      CHECK(compare(result(false, true, added(true)), sum, close) == "");
      CHECK(compare(result(false, true, seqmix::bidirectional(seqmix::selective_scan)), both,
                    close) == "");
    }
  }
  scan_case c{.B = 1, .T = 3, .D = 4, .N = 2};
  c.initial = true;
  scan_problem p(c);
  const seqmix::error e = error_of(
      [&] { with_scan<float, float, float>(p, seqmix::bidirectional(seqmix::selective_scan)); });
  CHECK(e.operator_name() == "bidirectional");
  CHECK(e.argument() == "options.initial_state");
}

TEST_CASE("every split of a scan gives the same bits", "[selective_scan][R01]") {
  for (const bool is_complex : {false, true}) {
    scan_case c{.B = 1, .T = 36, .D = 20, .N = 5, .is_complex = is_complex};
    c.initial = c.final = true;
    scan_problem whole(c);
    run_scan(whole);
    for (std::int64_t cut = 0; cut <= c.T; ++cut) {
      scan_problem first = part_of(whole, 0, cut, nullptr);
      run_scan(first);
      scan_problem second = part_of(whole, cut, c.T - cut, &first.final);
      run_scan(second);
      bool same = second.final.all_bits() == whole.final.all_bits();
      whole.y.for_each([&](const tensor<3>::index& i) {
        same = same && whole.y.bits(i) ==
                           (i[1] < cut ? first.y.bits(i) : second.y.bits({i[0], i[1] - cut, i[2]}));
      });
      CAPTURE(cut);
      CHECK(same);
    }
  }
}

TEST_CASE("the scan's bits depend on the sequence alone", "[selective_scan][R01][threads]") {
  scan_case c{.B = 4, .T = 40, .D = 150, .N = 5};
  c.packed = c.initial = c.final = c.pooled = true;
  scan_problem p(c);
  run_scan(p);
  const auto bits = p.y.all_bits();
  const auto states = p.final.all_bits();
  SECTION("executors") {
    for (const int threads : {1, 2, 3}) {
      for (const std::uint64_t shuffle : {0u, 5u}) {
        p.y.clear();
        p.final.clear();
        pool_executor pool(threads, shuffle);
        run_scan(p, {.executor = pool});
        CHECK(p.y.all_bits() == bits);
        CHECK(p.final.all_bits() == states);
      }
    }
  }
  SECTION("layouts") {
    for (const layout memory : {layout::padded, layout::strided, layout::head_first,
                                layout::reversed, layout::misaligned}) {
      scan_case other = c;
      other.inputs = other.outputs = other.states = memory;
      scan_problem same(other);
      run_scan(same);
      CAPTURE(name(memory));
      CHECK(same.y.all_bits() == bits);
      CHECK(same.final.all_bits() == states);
    }
  }
  SECTION("one sequence by itself, not packed") {
    for (std::int64_t n = 0; n < c.B; ++n) {
      const std::int64_t begin = p.starts[static_cast<std::size_t>(n)];
      scan_case single = c;
      single.B = 1;
      single.packed = single.pooled = false;
      single.T = p.starts[static_cast<std::size_t>(n) + 1] - begin;
      scan_problem alone(single);
      for (auto [to, from] : {std::pair{&alone.u, &p.u}, std::pair{&alone.delta, &p.delta},
                              std::pair{&alone.z, &p.z}}) {
        to->for_each([&, to = to, from = from](const tensor<3>::index& i) {
          to->set(i, (*from)[{0, i[1] + begin, i[2]}]);
        });
      }
      for (auto [to, from] : {std::pair{&alone.b, &p.b}, std::pair{&alone.c_rows, &p.c_rows}}) {
        to->for_each([&, to = to, from = from](const tensor<5>::index& i) {
          to->set(i, (*from)[{0, i[1] + begin, i[2], i[3], i[4]}]);
        });
      }
      const std::int64_t entry = p.slot[static_cast<std::size_t>(n)];
      alone.initial.for_each([&](const tensor<4>::index& i) {
        alone.initial.set(i, p.initial[{entry, i[1], i[2], i[3]}]);
      });
      run_scan(alone);
      bool same = true;
      alone.y.for_each([&](const tensor<3>::index& i) {
        same = same && alone.y.bits(i) == p.y.bits({0, i[1] + begin, i[2]});
      });
      alone.final.for_each([&](const tensor<4>::index& i) {
        same = same && alone.final.bits(i) == p.final.bits({entry, i[1], i[2], i[3]});
      });
      CAPTURE(n);
      CHECK(same);
    }
  }
}

TEST_CASE("equal rates give the same bits by a stride of zero", "[selective_scan][R01]") {
  for (const double step : {-6.0, 0.0, 60.0}) {
    scan_case c{.T = 40, .D = 20, .N = 6, .equal = true};
    c.step = step;
    scan_problem p(c);
    run_scan(p);
    scan_problem spelled_out(c);
    spelled_out.A = tensor<3>(c.type, {c.D, c.N, 1});
    spelled_out.A.for_each([&](const tensor<3>::index& i) { spelled_out.A.set(i, p.A[i]); });
    run_scan(spelled_out);
    CHECK(p.y.all_bits() == spelled_out.y.all_bits());
  }
}

TEST_CASE("pools: in place, skipped, and other slots for the final state",
          "[selective_scan][R01]") {
  scan_case c{.B = 3, .T = 9, .D = 20, .N = 5};
  c.initial = c.final = c.pooled = true;
  scan_problem apart(c);
  run_scan(apart);
  SECTION("in place") {
    scan_problem p(c);
    with_scan<float, float, float>(p, [&](const auto&... x) {
      const auto tuple = std::tie(x...);
      auto options = std::get<sizeof...(x) - 1>(tuple);
      options.final_state = axes_of<float, 3>(p.initial, 0);
      seqmix::selective_scan(std::get<0>(tuple), std::get<1>(tuple), std::get<2>(tuple),
                             std::get<3>(tuple), std::get<4>(tuple), std::get<5>(tuple), options);
    });
    CHECK(p.y.all_bits() == apart.y.all_bits());
    const scan_problem fresh(c);
    p.initial.for_each([&](const tensor<4>::index& i) {
      const bool written = !apart.final.untouched(i);
      CHECK(p.initial.bits(i) == (written ? apart.final : fresh.initial).bits(i));
    });
  }
  SECTION("-1 skips a sequence") {
    scan_problem p(c);
    p.slot[1] = -1;
    p.slots.set({1}, -1);
    run_scan(p);
    CHECK(p.verify() == "");
    CHECK(p.y.untouched({1, 0, 0}));
    CHECK(p.y.bits({2, 8, 3}) == apart.y.bits({2, 8, 3}));
  }
  SECTION("final slots of their own") {
    scan_problem p(c);
    const tensor<1> to = index_tensor({0, 2, 1}, false);
    with_scan<float, float, float>(p, [&](const auto&... x) {
      const auto tuple = std::tie(x...);
      auto options = std::get<sizeof...(x) - 1>(tuple);
      options.final_slots = index_view(to);
      seqmix::selective_scan(std::get<0>(tuple), std::get<1>(tuple), std::get<2>(tuple),
                             std::get<3>(tuple), std::get<4>(tuple), std::get<5>(tuple), options);
    });
    CHECK(p.final.bits({2, 7, 3, 0}) == apart.final.bits({apart.slot[1], 7, 3, 0}));
    CHECK(p.final.untouched({3, 7, 3, 0}));
  }
}

TEST_CASE("an empty sequence hands its state on, bit for bit", "[selective_scan][R01]") {
  scan_case c{.B = 2, .T = 0, .D = 20, .N = 5};
  c.initial = c.final = true;
  c.state = scalar_type::f64;
  scan_problem p(c);
  run_scan<float, float, double>(p);
  CHECK(p.final.all_bits() == p.initial.all_bits());
}

TEST_CASE("values that are not finite stay in their channel and go with time",
          "[selective_scan][R01]") {
  for (const bool is_complex : {false, true}) {
    scan_case c{.B = 2, .T = 40, .D = 40, .N = 5, .is_complex = is_complex};
    c.final = true;
    scan_problem clean(c);
    run_scan(clean);
    for (const double bad : {quiet_nan, infinity, -infinity}) {
      for (const int where : {0, 1, 2}) {
        scan_problem p(c);
        (where == 0 ? p.u : where == 1 ? p.delta : p.z).set({1, 7, 21}, bad);
        run_scan(p);
        CAPTURE(is_complex, bad, where);
        bool same = true;
        p.y.for_each([&](const tensor<3>::index& i) {
          const bool sees = i[0] == 1 && i[2] == 21 && (where == 2 ? i[1] == 7 : i[1] >= 7);
          same = same && (sees || p.y.bits(i) == clean.y.bits(i));
        });
        CHECK(same);
        const bool poisons = where < 2 && (std::isnan(bad) || where == 0);
        CHECK((poisons ? !std::isfinite(p.y[{1, 20, 21}]) : true));
        CHECK((where == 2 && std::isnan(bad) ? std::isnan(p.y[{1, 7, 21}]) : true));
      }
      // B of one token reaches all channels from there on, and not what was before.
      scan_problem p(c);
      p.b.set({1, 7, 0, 2, 0}, bad);
      run_scan(p);
      bool same = true;
      p.y.for_each([&](const tensor<3>::index& i) {
        same = same && ((i[0] == 1 && i[1] >= 7) || p.y.bits(i) == clean.y.bits(i));
      });
      CHECK(same);
    }
  }
}

TEST_CASE("gaps between packed sequences and unused entries are not read", "[selective_scan]") {
  scan_case c{.B = 3, .T = 20, .D = 20, .N = 5};
  c.packed = c.initial = c.final = c.pooled = true;
  scan_problem clean(c);
  run_scan(clean);
  scan_problem p(c);
  for (tensor<3>* x : {&p.u, &p.delta, &p.z}) {
    x->for_each([&](const tensor<3>::index& i) {
      if (i[1] >= p.starts.back()) {
        x->set(i, quiet_nan);
      }
    });
  }
  p.initial.for_each([&](const tensor<4>::index& i) {
    if (std::find(p.slot.begin(), p.slot.end(), i[0]) == p.slot.end()) {
      p.initial.set(i, quiet_nan);
    }
  });
  run_scan(p);
  CHECK(p.y.all_bits() == clean.y.all_bits());
  CHECK(p.final.all_bits() == clean.final.all_bits());
}

TEST_CASE("a warm scan allocates nothing and says what it runs", "[selective_scan]") {
  scan_case c{.B = 3, .T = 40, .D = 40, .N = 5};
  c.packed = c.initial = c.final = c.pooled = true;
  scan_problem p(c);
  with_scan<float, float, float>(p, [&](const auto&... x) {
    seqmix::selective_scan(x...);
    const long before = allocations;
    seqmix::selective_scan(x...);
    const long after = allocations;
    CHECK(after == before);
    const seqmix::dispatch_report report = seqmix::selective_scan.explain(x...);
    CHECK(report.implementation == "channels");
    guarded_workspace scratch(seqmix::selective_scan.workspace_bytes(x...), 3);
    const auto bits = p.y.all_bits();
    seqmix::selective_scan(x..., seqmix::context{.workspace = scratch.span()});
    CHECK(p.y.all_bits() == bits);
    CHECK(scratch.guards_untouched());
  });
}

TEST_CASE("strides of the scan beyond 2^31 elements", "[selective_scan]") {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 4099;
  constexpr std::size_t bytes = (static_cast<std::size_t>(far) * 2 + 100) * sizeof(float);
  const sparse_memory memory[6] = {sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes), sparse_memory(bytes)};
  for (const sparse_memory& m : memory) {
    if (m.data() == nullptr) {
      WARN("not run: the system grants no " << (bytes >> 30) << " GiB of address space");
      return;
    }
  }
  scan_case c{.B = 3, .T = 3, .D = 3, .N = 3};
  c.initial = c.final = true;
  c.skip = c.bias = false;
  scan_problem p(c);
  run_scan(p);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    for (const std::int64_t step : {far, -far}) {
      std::int64_t strides[3] = {9, 3, 1};
      strides[axis] = step;
      const auto place = [&](std::size_t i) {
        return seqmix::tensor_view<float, 3>(memory[i].data() + (step < 0 ? 2 * far : 0), {3, 3, 3},
                                             {strides[0], strides[1], strides[2]});
      };
      const tensor<3>* from[3] = {&p.u, &p.delta, &p.z};
      for (std::size_t i = 0; i < 3; ++i) {
        const auto to = place(i);
        from[i]->for_each([&](const tensor<3>::index& at) {
          to(at[0], at[1], at[2]) = static_cast<float>((*from[i])[at]);
        });
      }
      const auto initial = place(3);
      const auto final = place(4);
      const auto y = place(5);
      p.initial.for_each([&](const tensor<4>::index& at) {
        initial(at[0], at[1], at[2]) = static_cast<float>(p.initial[at]);
      });
      seqmix::selective_scan(
          place(0), place(1), axes_of<const float, 2>(p.A, 0), axes_of<const float, 4>(p.b, 0),
          axes_of<const float, 4>(p.c_rows, 0), y,
          {.z = place(2), .delta_softplus = true, .initial_state = initial, .final_state = final});
      bool same = true;
      p.y.for_each([&](const tensor<3>::index& at) {
        same = same && static_cast<double>(y(at[0], at[1], at[2])) == p.y[at] &&
               static_cast<double>(final(at[0], at[1], at[2])) == p.final[{at[0], at[1], at[2], 0}];
      });
      CAPTURE(axis, step);
      CHECK(same);
    }
  }
}
