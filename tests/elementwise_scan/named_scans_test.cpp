// SPDX-License-Identifier: Apache-2.0
#include "named_scans.hpp"

#include <complex>

#include "support/counted_new.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;

namespace {

/// What a form makes of its inputs, from its equation as a sum over all earlier tokens: without a
/// state, forward.
double unrolled(named form, const named_problem& p, std::int64_t b, std::int64_t t,
                std::int64_t d) {
  const auto in = [&](std::size_t i, std::int64_t s) { return p.in[i][{b, s, d, 0}]; };
  const auto par = [&](std::size_t i, std::int64_t n = 0, std::int64_t part = 0) {
    return p.parameters[i][{d, n, part}];
  };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  // Forms h = a h + b: products of all later factors.
  const auto sum_of = [&](auto&& a, auto&& x) {
    double h = 0;
    for (std::int64_t s = 0; s <= t; ++s) {
      double factor = 1;
      for (std::int64_t r = s + 1; r <= t; ++r) {
        factor *= a(r);
      }
      h += factor * x(s);
    }
    return h;
  };
  switch (form) {
    case named::hgrn:
      return sum_of(
          [&](std::int64_t s) { return std::exp(in(1, s)); },
          [&](std::int64_t s) { return (p.options.tied ? 1 - std::exp(in(1, s)) : 1) * in(0, s); });
    case named::hgrn_factors:
      return sum_of([&](std::int64_t s) { return in(1, s); },
                    [&](std::int64_t s) { return (1 - in(1, s)) * in(0, s); });
    case named::rg_lru: {
      const auto a = [&](std::int64_t s) {
        return std::pow(sigmoid(-par(0)), 8 * sigmoid(in(2, s)));
      };
      return sum_of(a, [&](std::int64_t s) {
        return std::sqrt(1 - a(s) * a(s)) * sigmoid(in(1, s)) * in(0, s);
      });
    }
    case named::min_gru:
    case named::min_gru_log:
      return sum_of([&](std::int64_t s) { return 1 - sigmoid(in(0, s)); },
                    [&](std::int64_t s) {
                      const double x = in(1, s);
                      const double g = x >= 0 ? x + 0.5 : sigmoid(x);
                      return sigmoid(in(0, s)) * (form == named::min_gru ? x : g);
                    });
    case named::rwkv4: {
      double num = std::exp(par(1) + in(0, t)) * in(1, t);
      double den = std::exp(par(1) + in(0, t));
      for (std::int64_t s = 0; s < t; ++s) {
        const double weight = std::exp(static_cast<double>(t - 1 - s) * par(0) + in(0, s));
        num += weight * in(1, s);
        den += weight;
      }
      return num / den;
    }
    case named::diagonal_ssm:
    case named::zoh_ssm: {
      double y = par(3) * in(0, t);
      for (std::int64_t n = 0; n < modes; ++n) {
        std::complex<double> a(par(0, n, 0), par(0, n, 1));
        std::complex<double> w(par(1, n, 0), par(1, n, 1));
        if (form == named::zoh_ssm) {
          w *= (std::exp(a * par(4)) - 1.0) / a;
          a = std::exp(a * par(4));
        }
        w *= std::complex<double>(par(2, n, 0), par(2, n, 1));
        for (std::int64_t s = 0; s <= t; ++s) {
          y += 2 * (w * std::pow(a, static_cast<int>(t - s))).real() * in(0, s);
        }
      }
      return y;
    }
    case named::damped_ema: {
      double y = 0;
      for (std::int64_t n = 0; n < modes; ++n) {
        for (std::int64_t s = 0; s <= t; ++s) {
          y += par(3, n) * par(0, n) * par(2, n) *
               std::pow(1 - par(0, n) * par(1, n), static_cast<double>(t - s)) * in(0, s);
        }
      }
      return y;
    }
  }
  return 0;
}

std::vector<double> results(const named_problem& p) {
  std::vector<double> all = p.o.values();
  if (p.options.final_state.given()) {
    const std::vector<double> states = p.final.values();
    all.insert(all.end(), states.begin(), states.end());
  }
  return all;
}

}  // namespace

TEST_CASE("named scans equal their equations", "[elementwise_scan][named]") {
  for (const named form : all_named) {
    for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}}) {
      named_case c{.form = form, .B = 2, .T = 20, .D = 11, .seed = seed};
      CAPTURE(c);
      named_problem p = make_named(c);
      std::vector<double> expected;
      p.o.for_each([&](const tensor<4>::index& i) {
        expected.push_back(unrolled(form, p, i[0], i[1], i[2]));
      });
      run_named<float, float>(form, true, p);
      CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
      run_named<float, float>(form, false, p);
      CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("named scans equal their oracles", "[elementwise_scan][named]") {
  const std::vector<std::int64_t> lengths{0, 1, 3, 16, 33, 100, 260};
  const std::vector<std::int64_t> channels{1, 8, 19, 64};
  const test_plan plan = pairwise_plan({std::size(all_named), 2, 7, 4, 2, 2, 2, 2, 8, 6, 2}, 5);
  for (const std::vector<int>& row : plan) {
    named_case c;
    c.form = all_named[row[0]];
    c.B = row[1] + 1;
    c.T = lengths[static_cast<std::size_t>(row[2])];
    c.D = channels[static_cast<std::size_t>(row[3])];
    c.reverse = row[4] != 0;
    c.packed = row[5] != 0;
    c.initial = row[6] != 0;
    c.final = row[7] != 0;
    c.in = static_cast<layout>(row[8]);
    c.o = static_cast<layout>(row[9]);
    const bool halves = row[10] != 0;
    c.in_type = halves ? scalar_type::f16 : scalar_type::f32;
    c.o_type = halves ? scalar_type::bf16 : scalar_type::f32;
    c.seed = static_cast<std::uint64_t>(row[2] * 10 + row[3] + 1);
    CAPTURE(c);
    named_problem p = make_named(c);
    named_problem oracle = make_named(c);
    if (halves) {
      run_named<f16, bf16>(c.form, false, p);
      run_named<f16, bf16>(c.form, true, oracle);
    } else {
      run_named<float, float>(c.form, false, p);
      run_named<float, float>(c.form, true, oracle);
    }
    CHECK(compare(results(p), results(oracle), tolerance_of(c.o_type), bound::ceiling, 1e-3) == "");
    CHECK(p.o.gaps_untouched());
    CHECK(p.final.gaps_untouched());
  }
}

TEST_CASE("named scans: threads and packing move no bits, states carry over",
          "[elementwise_scan][named][determinism][threads]") {
  for (const named form : all_named) {
    named_case c{.form = form, .T = 41, .D = 75, .packed = true, .initial = true, .final = true};
    CAPTURE(c);
    named_problem first = make_named(c, {0, 7, 7, 41});
    run_named<float, float>(form, false, first);
    for (const int threads : {2, 3, 5}) {
      named_problem again = make_named(c, {0, 7, 7, 41});
      pool_executor pool(threads, 3);
      run_named<float, float>(form, false, again, {.executor = pool});
      CHECK(again.o.all_bits() == first.o.all_bits());
      CHECK(again.final.all_bits() == first.final.all_bits());
    }
    // The last sequence in two parts, the state between them in place.
    named_problem parts = make_named(c, {0, 7, 7, 41});
    parts.final = parts.initial;
    const tensor<1> cuts = index_tensor({7, 20, 41}, false);
    parts.options.final_state = parts.final.view<float>().slice(0, 2, 1);
    parts.options.initial_state = parts.final.view<const float>().slice(0, 2, 1);
    for (const std::int64_t part : {0, 1}) {
      const std::int64_t begin = part == 0 ? 7 : 20;
      const std::int64_t count = part == 0 ? 13 : 21;
      const auto cut = [&](const tensor<4>& x) {
        return time_view<const float>(x).slice(1, begin, count);
      };
      named_problem one = parts;
      one.options.varlen = {};
      const auto o = time_view<float>(parts.o).slice(1, begin, count);
      one.options.initial_state = parts.options.initial_state;
      one.options.final_state = parts.options.final_state;
      one.options.skip = first.options.skip;
      one.options.step = first.options.step;
      call_named(form, false, one, cut(parts.in[0]), cut(parts.in[1]), cut(parts.in[2]), o, {});
    }
    bool same = true;  // registers and their order are the same
    for (std::int64_t t = 7; t < 41; ++t) {
      for (std::int64_t d = 0; d < 75; ++d) {
        same &= parts.o.bits({0, t, d, 0}) == first.o.bits({0, t, d, 0});
      }
    }
    CHECK(same);
  }
}

TEST_CASE("what is not finite stays in its channel of a named scan", "[elementwise_scan][named]") {
  for (const named form : all_named) {
    for (const double poison : {quiet_nan, infinity}) {
      named_case c{.form = form, .B = 2, .T = 12, .D = 20};
      CAPTURE(c, poison);
      named_problem clean = make_named(c);
      named_problem dirty = make_named(c);
      dirty.in[0].set({1, 4, 9, 0}, poison);
      run_named<float, float>(form, false, clean);
      run_named<float, float>(form, false, dirty);
      bool same = true;
      dirty.o.for_each([&](const tensor<4>::index& i) {
        const bool seen = i[0] == 1 && i[2] == 9 && i[1] >= 4;
        same &= seen || dirty.o.bits(i) == clean.o.bits(i);
      });
      CHECK(same);
      CHECK((!std::isnan(poison) || std::isnan(dirty.o[{1, 4, 9, 0}])));
    }
  }
}

TEST_CASE("rwkv4 is finite for any k, and does not see tokens with k of -infinity",
          "[elementwise_scan][named]") {
  named_case c{.form = named::rwkv4, .T = 64, .D = 8, .final = true};
  named_problem p = make_named(c);
  p.in[0].for_each([&](const tensor<4>::index& i) { p.in[0].set(i, 80 * p.in[0][i]); });
  for (const std::int64_t t : {0, 1, 30}) {
    for (std::int64_t d = 0; d < 8; ++d) {
      p.in[0].set({0, t, d, 0}, -infinity);
      p.in[1].set({0, t, d, 0}, quiet_nan);
    }
  }
  run_named<float, float>(named::rwkv4, false, p);
  const std::vector<double> values = p.o.values();
  run_named<float, float>(named::rwkv4, true, p);
  CHECK(p.o[{0, 0, 3, 0}] == 0);
  CHECK(std::isfinite(values[500]));
  CHECK(compare(values, p.o.values(), tolerance_of(scalar_type::f32), bound::ceiling) == "");
}

TEST_CASE("prefix softmax equals the softmax mean of each prefix",
          "[elementwise_scan][named][threads]") {
  constexpr std::int64_t B = 2, T = 37, H = 3, V = 13;
  for (const layout kind : {layout::dense, layout::head_first, layout::reversed}) {
    for (const bool reverse : {false, true}) {
      tensor<3> scores(scalar_type::f32, {B, T, H}, kind);
      tensor<4> v(scalar_type::f32, {B, T, H, V}, kind), o = v, naive = v;
      tensor<3> state(scalar_type::f32, {B, H, V + 2}, layout::padded), naive_state = state;
      scores.fill(1, 20);
      v.fill(2);
      scores.set({0, 0, 1}, -infinity);
      scores.set({0, T - 1, 1}, -infinity);
      scores.set({0, 5, 1}, -infinity);
      for (const std::int64_t t : {std::int64_t{0}, std::int64_t{5}, T - 1}) {
        v.set({0, t, 1, 2}, quiet_nan);
      }
      scan_options options{
          .final_state = state.view<float>(),
          .direction = reverse ? scan_direction::reverse : scan_direction::forward};
      pool_executor pool(3);
      seqmix::prefix_softmax_scan(scores.view<const float>(), v.view<const float>(),
                                  o.view<float>(), options, {.executor = pool});
      std::vector<double> expected;
      o.for_each([&](const tensor<4>::index& i) {
        double m = -infinity, sum = 0, mean = 0;
        const std::int64_t from = reverse ? i[1] : 0, to = reverse ? T - 1 : i[1];
        for (std::int64_t s = from; s <= to; ++s) {
          m = std::fmax(m, scores[{i[0], s, i[2]}]);
        }
        for (std::int64_t s = from; s <= to; ++s) {
          const double score = scores[{i[0], s, i[2]}];
          if (score != -infinity) {
            sum += std::exp(score - m);
            mean += std::exp(score - m) * v[{i[0], s, i[2], i[3]}];
          }
        }
        expected.push_back(sum == 0 ? 0 : mean / sum);
      });
      CHECK(compare(o.values(), expected, tolerance_of(scalar_type::f32)) == "");
      CHECK(state.gaps_untouched());
      options.final_state = naive_state.view<float>();
      seqmix::naive_prefix_softmax_scan(scores.view<const float>(), v.view<const float>(),
                                        naive.view<float>(), options);
      CHECK(compare(naive.values(), expected, tolerance_of(scalar_type::f32)) == "");
      CHECK(compare(state.values(), naive_state.values(), tolerance_of(scalar_type::f32)) == "");
      // In two parts, the state in place.
      tensor<4> parts = o;
      parts.clear();
      state.for_each([&](const tensor<3>::index& i) { state.set(i, i[2] == 0 ? -infinity : 0); });
      options.final_state = state.view<float>();
      options.initial_state = state.view<const float>();
      for (const bool first : {true, false}) {
        const std::int64_t begin = first != reverse ? 0 : 20, count = first != reverse ? 20 : 17;
        seqmix::prefix_softmax_scan(scores.view<const float>().slice(1, begin, count),
                                    v.view<const float>().slice(1, begin, count),
                                    parts.view<float>().slice(1, begin, count), options);
      }
      CHECK(parts.all_bits() == o.all_bits());
    }
  }
}

TEST_CASE("named scans allocate nothing once warm, and keep to their workspace",
          "[elementwise_scan][named]") {
  for (const named form : all_named) {
    for (const layout kind : {layout::dense, layout::head_first}) {
      named_case c{.form = form, .B = 2, .T = 40, .D = 70, .initial = true, .final = true};
      c.in = kind;
      CAPTURE(c);
      named_problem p = make_named(c);
      run_named<float, float>(form, false, p);
      const long before = allocations;
      run_named<float, float>(form, false, p);
      CHECK(allocations == before);
      const std::vector<std::uint64_t> bits = p.o.all_bits();
      std::size_t bytes = 0;
      with_named(form, p, time_view<const float>(p.in[0]), time_view<const float>(p.in[1]),
                 time_view<const float>(p.in[2]), time_view<float>(p.o),
                 [&](const auto& op, const auto&, const auto&... arguments) {
                   bytes = op.workspace_bytes(arguments...);
                 });
      guarded_workspace workspace(bytes, 8);
      p.o.clear();
      run_named<float, float>(form, false, p, {.workspace = workspace.span()});
      CHECK(p.o.all_bits() == bits);
      CHECK(workspace.guards_untouched());
    }
  }
}

TEST_CASE("offsets of named scans have 64 bits", "[elementwise_scan][named]") {
  constexpr std::int64_t step = (std::int64_t{1} << 31) + 12345;
  constexpr std::int64_t T = 3, D = 17;
  for (const named form : all_named) {
    // New for each form: outputs of one are no inputs of the next.
    const sparse_memory memory(static_cast<std::size_t>(2 * step + 4 * 64) * sizeof(float));
    if (memory.data() == nullptr) {
      WARN("not run: the system grants no address space");
      return;
    }
    named_case c{.form = form, .T = T, .D = D};
    CAPTURE(c);
    named_problem p = make_named(c);
    run_named<float, float>(form, false, p);
    // Token by token beyond 2^31: the inputs, then the output.
    const auto far = [&]<class X>(std::int64_t place, X*) {
      return seqmix::tensor_view<X, 3>(memory.data() + place, {std::int64_t{1}, T, D},
                                       {std::int64_t{0}, step, std::int64_t{1}});
    };
    const float* in = nullptr;
    float* out = nullptr;
    for (std::int64_t i = 0; i < 3; ++i) {
      p.in[static_cast<std::size_t>(i)].for_each([&](const tensor<4>::index& at) {
        far(64 * i, out)(0, at[1], at[2]) =
            static_cast<float>(p.in[static_cast<std::size_t>(i)][at]);
      });
    }
    const auto o = far(3 * 64, out);
    call_named(form, false, p, far(0, in), far(64, in), far(2 * 64, in), o, {});
    bool same = true;
    p.o.for_each([&](const tensor<4>::index& at) {
      same = same && static_cast<double>(o(0, at[1], at[2])) == p.o[at];
    });
    CHECK(same);
  }
}
