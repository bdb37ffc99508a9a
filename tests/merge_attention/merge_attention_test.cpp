// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <string>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"
#include "support/pairwise.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

struct merge_case {
  std::int64_t P = 2, B = 1, T = 1, H = 1, V = 8;
  layout parts = layout::dense, sums = layout::dense, out = layout::dense;
  scalar_type part_type = scalar_type::f32, lse_type = scalar_type::f32,
              out_type = scalar_type::f32, out_lse = scalar_type::f64;
  int empty = 0;  // of 8 (row, part) pairs so many have seen no key
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& text, const merge_case& c) {
    return text << "{P " << c.P << ", B " << c.B << ", T " << c.T << ", H " << c.H << ", V " << c.V
                << ", layouts " << name(c.parts) << " " << name(c.sums) << " " << name(c.out)
                << ", types " << name(c.part_type) << " " << name(c.lse_type) << " "
                << name(c.out_type) << " " << name(c.out_lse) << ", empty " << c.empty << ", seed "
                << c.seed << "}";
  }
};

/// The parts of a merge. A part without keys holds NaN: its values must not be read.
struct merge_problem {
  merge_case c;
  tensor<5> o_parts;
  tensor<4> lse_parts;
  tensor<4> o;
  tensor<3> lse;

  explicit merge_problem(const merge_case& which)
      : c(which),
        o_parts(c.part_type, {c.P, c.B, c.T, c.H, c.V}, c.parts),
        lse_parts(c.lse_type, {c.P, c.B, c.H, c.T}, c.sums),
        o(c.out_type, {c.B, c.T, c.H, c.V}, c.out) {
    if (c.out_lse != scalar_type::none) {
      lse = tensor<3>(c.out_lse, {c.B, c.H, c.T}, c.out);
    }
    o_parts.fill(c.seed * 2);
    lse_parts.fill(c.seed * 2 + 1, 3);
    lse_parts.for_each([&](const tensor<4>::index& i) {
      const auto key = static_cast<std::uint64_t>(((i[0] * 64 + i[1]) * 64 + i[2]) * 1024 + i[3]);
      if (mix(key + c.seed) % 8 < static_cast<std::uint64_t>(c.empty)) {
        lse_parts.set(i, -infinity);
        for (std::int64_t x = 0; x < c.V; ++x) {
          o_parts.set({i[0], i[1], i[3], i[2], x}, quiet_nan);
        }
      }
    });
  }

  seqmix::merge_attention_options options() const {
    if (c.out_lse == scalar_type::f64) {
      return {.lse = lse.view<double>()};
    }
    return c.out_lse == scalar_type::f32 ? seqmix::merge_attention_options{.lse = lse.view<float>()}
                                         : seqmix::merge_attention_options{};
  }
  void clear_outputs() {
    o.clear();
    if (c.out_lse != scalar_type::none) {
      lse.clear();
    }
  }

  /// What is wrong with the outputs; empty when nothing is.
  std::string verify() const {
    std::vector<double> sums;
    for (std::int64_t b = 0; b < c.B; ++b) {
      for (std::int64_t h = 0; h < c.H; ++h) {
        for (std::int64_t t = 0; t < c.T; ++t) {
          sums.push_back(total(b, h, t));
        }
      }
    }
    std::vector<double> values;
    o.for_each([&](const tensor<4>::index& i) {
      const double sum = total(i[0], i[2], i[1]);
      double value = 0;
      for (std::int64_t p = 0; p < c.P; ++p) {
        const double part = lse_parts[{p, i[0], i[2], i[1]}];
        if (part != -infinity) {
          value += std::exp(part - sum) * o_parts[{p, i[0], i[1], i[2], i[3]}];
        }
      }
      values.push_back(value);
    });
    std::string text =
        compare(o.values(), values, tolerance_of(c.out_type), bound::target, o.size() < 64 ? 1 : 0);
    if (c.out_lse != scalar_type::none) {
      text += compare(lse.values(), sums, tolerance_of(c.out_lse), bound::target, 1);
      text += lse.gaps_untouched() ? "" : "; memory around lse was written";
    }
    return text + (o.gaps_untouched() ? "" : "; memory around o was written");
  }

 private:
  double total(std::int64_t b, std::int64_t h, std::int64_t t) const {
    double maximum = -infinity;
    for (std::int64_t p = 0; p < c.P; ++p) {
      maximum = std::max(maximum, lse_parts[{p, b, h, t}]);
    }
    double sum = 0;
    for (std::int64_t p = 0; p < c.P; ++p) {
      sum += maximum == -infinity ? 0 : std::exp(lse_parts[{p, b, h, t}] - maximum);
    }
    return sum == 0 ? -infinity : maximum + std::log(sum);
  }
};

/// merge_attention for fixed element types.
struct merge_calls {
  scalar_type part, sum, out;
  void (*run)(merge_problem&, const seqmix::context&);
  std::size_t (*workspace_bytes)(merge_problem&, const seqmix::context&);
};

template <class TP, class TL, class TO>
merge_calls merge_calls_for() {
  return {seqmix::scalar_type_of<TP>, seqmix::scalar_type_of<TL>, seqmix::scalar_type_of<TO>,
          [](merge_problem& p, const seqmix::context& ctx) {
            seqmix::merge_attention(p.o_parts.view<const TP>(), p.lse_parts.view<const TL>(),
                                    p.o.view<TO>(), p.options(), ctx);
          },
          [](merge_problem& p, const seqmix::context& ctx) {
            return seqmix::merge_attention.workspace_bytes(
                p.o_parts.view<TP>(), p.lse_parts.view<TL>(), p.o.view<TO>(), p.options(), ctx);
          }};
}

/// Part `part` of a 5-D tensor.
template <class T, std::size_t Rank>
seqmix::tensor_view<T, Rank - 1> part_of(const tensor<Rank>& t, std::int64_t part) {
  const auto all = t.template view<T>().slice(0, part, 1);
  return [&]<std::size_t... A>(std::index_sequence<A...>) {
    return seqmix::tensor_view<T, Rank - 1>(all.data_handle(), {all.extent(A + 1)...},
                                            {all.stride(A + 1)...});
  }(std::make_index_sequence<Rank - 1>{});
}

}  // namespace

TEST_CASE("merge_attention against the definition", "[merge_attention][threads]") {
  constexpr std::int64_t parts[] = {0, 1, 2, 3, 7, 33};
  constexpr std::int64_t times[] = {0, 1, 2, 15, 17, 33};
  constexpr std::int64_t heads[] = {1, 3, 4};
  constexpr std::int64_t widths[] = {1, 7, 16, 60, 64, 100, 256};
  constexpr layout inputs[] = {layout::dense,    layout::padded,     layout::strided,
                               layout::reversed, layout::head_first, layout::misaligned};
  const merge_calls calls[] = {
      merge_calls_for<float, float, float>(),    merge_calls_for<float, double, float>(),
      merge_calls_for<double, double, double>(), merge_calls_for<bf16, float, bf16>(),
      merge_calls_for<f16, float, f16>(),        merge_calls_for<float, float, bf16>(),
      merge_calls_for<bf16, float, float>()};
  const test_plan plan = pairwise_plan({std::size(parts), std::size(times), 3, std::size(widths), 6,
                                        6, 6, std::size(calls), 3, 3, 3, 3, 3},
                                       3);
  std::uint64_t seed = 0;
  for (const std::vector<int>& row : plan) {
    const auto at = [&](std::size_t f) { return static_cast<std::size_t>(row[f]); };
    const merge_calls& m = calls[at(7)];
    merge_case c{.P = parts[at(0)],
                 .B = 1 + row[8],
                 .T = times[at(1)],
                 .H = heads[at(2)],
                 .V = widths[at(3)]};
    c.parts = inputs[at(4)];
    c.sums = inputs[at(5)];
    c.out = inputs[at(6)];
    c.part_type = m.part;
    c.lse_type = m.sum;
    c.out_type = m.out;
    c.out_lse = row[9] == 0 ? scalar_type::none : row[9] == 1 ? scalar_type::f32 : scalar_type::f64;
    c.empty = row[10] == 2 ? 8 : 3 * row[10];
    c.seed = ++seed;
    merge_problem p(c);
    for (const bool naive : {false, true}) {
      p.clear_outputs();
      pool_executor pool(1 + row[11], row[12] == 2 ? seed : 0);
      seqmix::context ctx;
      ctx.executor = pool;
      if (naive) {
        ctx.pin.implementation = "naive";
      }
      guarded_workspace scratch(m.workspace_bytes(p, ctx), static_cast<std::size_t>(row[10]));
      if (row[12] > 0) {
        ctx.workspace = scratch.span();
      }
      m.run(p, ctx);
      const std::string problem =
          p.verify() + (scratch.guards_untouched() ? "" : "; memory around the workspace");
      if (!problem.empty()) {
        CAPTURE(c, naive);
        FAIL_CHECK(problem);
      }
    }
  }
  std::printf("merge_attention, pairwise: %zu cases\n", plan.size());
  CHECK(plan.size() >= 49);
}

TEST_CASE("merging parts of the keys gives attention over their union", "[merge_attention]") {
  // softmax_attention on each part, then n-way, left to right, right to left, and as a tree.
  constexpr std::int64_t B = 2, T = 9, S = 131, H = 4, HK = 2, D = 20, V = 24;
  attention_case c{
      .B = B, .T = T, .S = S, .H = H, .HK = HK, .D = D, .V = V, .lse = scalar_type::f32};
  c.types = types_of_all<float>();
  attention_problem whole(c);
  const attention_reference expected(whole);
  const auto q = whole.q.view<const float>();
  const auto k = whole.k.view<const float>();
  const auto v = whole.v.view<const float>();
  const auto check = [&](const tensor<4>& o, const tensor<3>& lse) {
    CHECK(compare(o.values(), expected.o, tolerance_of(scalar_type::f32)) == "");
    CHECK(compare(lse.values(), expected.lse, tolerance_of(scalar_type::f32), bound::target, 1) ==
          "");
  };
  for (const std::int64_t P : {1, 2, 3, 5, 64, 200}) {
    CAPTURE(P);
    tensor<5> o_parts(scalar_type::f32, {P, B, T, H, V});
    tensor<4> lse_parts(scalar_type::f32, {P, B, H, T});
    for (std::int64_t p = 0; p < P; ++p) {
      const std::int64_t begin = S * p / P;  // some of the 200 parts have no key
      const std::int64_t count = S * (p + 1) / P - begin;
      seqmix::softmax_attention(q, k.slice(1, begin, count), v.slice(1, begin, count),
                                part_of<float>(o_parts, p), {.lse = part_of<float>(lse_parts, p)});
    }
    tensor<4> o(scalar_type::f32, {B, T, H, V});
    tensor<3> lse(scalar_type::f32, {B, H, T});
    seqmix::merge_attention(o_parts.view<float>(), lse_parts.view<float>(), o.view<float>(),
                            {.lse = lse.view<float>()});
    check(o, lse);

    // Two at a time. The operator's outputs share no memory with its inputs: two buffers in turn.
    const auto fold = [&](bool forward) {
      tensor<4> sum(scalar_type::f32, {B, T, H, V});
      tensor<3> sum_lse(scalar_type::f32, {B, H, T});
      sum.for_each([&](const tensor<4>::index& i) { sum.set(i, quiet_nan); });
      sum_lse.for_each([&](const tensor<3>::index& i) { sum_lse.set(i, -infinity); });
      for (std::int64_t n = 0; n < P; ++n) {
        const std::int64_t p = forward ? n : P - 1 - n;
        tensor<4> next = sum;
        tensor<3> next_lse = sum_lse;
        const auto a = part_of<const float>(o_parts, p);
        const auto a_lse = part_of<const float>(lse_parts, p);
        if (forward) {
          seqmix::merge_attention(sum.view<float>(), sum_lse.view<float>(), a, a_lse,
                                  next.view<float>(), {.lse = next_lse.view<float>()});
        } else {
          seqmix::merge_attention(a, a_lse, sum.view<float>(), sum_lse.view<float>(),
                                  next.view<float>(), {.lse = next_lse.view<float>()});
        }
        sum = next;
        sum_lse = next_lse;
      }
      check(sum, sum_lse);
    };
    if (P <= 64) {
      fold(true);
      fold(false);
    }

    std::vector<std::pair<tensor<4>, tensor<3>>> level;
    for (std::int64_t p = 0; p < P; ++p) {
      level.emplace_back(tensor<4>(scalar_type::f32, {B, T, H, V}),
                         tensor<3>(scalar_type::f32, {B, H, T}));
      level.back().first.for_each([&](const tensor<4>::index& i) {
        level.back().first.set(i, o_parts[{p, i[0], i[1], i[2], i[3]}]);
      });
      level.back().second.for_each([&](const tensor<3>::index& i) {
        level.back().second.set(i, lse_parts[{p, i[0], i[1], i[2]}]);
      });
    }
    while (level.size() > 1) {
      std::vector<std::pair<tensor<4>, tensor<3>>> next;
      for (std::size_t i = 0; i < level.size(); i += 2) {
        next.push_back(level[i]);
        if (i + 1 < level.size()) {
          auto& [o2, lse2] = next.back();
          seqmix::merge_attention(level[i].first.view<float>(), level[i].second.view<float>(),
                                  level[i + 1].first.view<float>(),
                                  level[i + 1].second.view<float>(), o2.view<float>(),
                                  {.lse = lse2.view<float>()});
        }
      }
      level = std::move(next);
    }
    check(level[0].first, level[0].second);
  }
}

TEST_CASE("two parts equal the same two as an array, bit for bit", "[merge_attention]") {
  merge_case c{.P = 2, .B = 2, .T = 20, .H = 3, .V = 37, .empty = 2};
  merge_problem p(c);
  seqmix::merge_attention(p.o_parts.view<float>(), p.lse_parts.view<float>(), p.o.view<float>(),
                          p.options());
  const auto bits = p.o.all_bits();
  const auto sums = p.lse.all_bits();
  p.clear_outputs();
  seqmix::merge_attention(part_of<const float>(p.o_parts, 0), part_of<const float>(p.lse_parts, 0),
                          part_of<const float>(p.o_parts, 1), part_of<const float>(p.lse_parts, 1),
                          p.o.view<float>(), p.options());
  CHECK((p.o.all_bits() == bits));
  CHECK((p.lse.all_bits() == sums));
}

TEST_CASE("two parts of different types", "[merge_attention]") {
  constexpr std::int64_t B = 1, T = 3, H = 2, V = 19;
  tensor<4> a(scalar_type::bf16, {B, T, H, V});
  tensor<4> b(scalar_type::f32, {B, T, H, V}, layout::strided);
  tensor<3> lse_a(scalar_type::f64, {B, H, T});
  tensor<3> lse_b(scalar_type::f32, {B, H, T}, layout::head_first);
  tensor<4> o(scalar_type::f64, {B, T, H, V});
  a.fill(1);
  b.fill(2);
  lse_a.fill(3);
  lse_b.fill(4);
  seqmix::merge_attention(a.view<bf16>(), lse_a.view<double>(), b.view<float>(),
                          lse_b.view<float>(), o.view<double>());
  std::vector<double> expected;
  o.for_each([&](const tensor<4>::index& i) {
    const double w = 1 / (1 + std::exp(lse_b[{i[0], i[2], i[1]}] - lse_a[{i[0], i[2], i[1]}]));
    expected.push_back(w * a[i] + (1 - w) * b[i]);
  });
  CHECK(compare(o.values(), expected, tolerance_of(scalar_type::f64)) == "");
}

TEST_CASE("hand cases of the merge", "[merge_attention]") {
  const auto check = [](double lse_a, double o_a, double lse_b, double o_b, double expected) {
    for (const char* how : {"rows", "naive"}) {
      double o = quiet_nan;
      double lse = quiet_nan;
      seqmix::merge_attention(seqmix::view(&o_a, 1, 1, 1, 1), seqmix::view(&lse_a, 1, 1, 1),
                              seqmix::view(&o_b, 1, 1, 1, 1), seqmix::view(&lse_b, 1, 1, 1),
                              seqmix::view(&o, 1, 1, 1, 1), {.lse = seqmix::view(&lse, 1, 1, 1)},
                              {.pin = {.implementation = how}});
      CAPTURE(how, lse_a, lse_b, o, lse);
      const double top = std::max(lse_a, lse_b);
      const double bottom = std::min(lse_a, lse_b);
      // The oracle's weights carry the rounding of the log-sum-exps.
      CHECK(std::fabs(o - expected) <= 1e-15 * (4 + std::fabs(top == -infinity ? 0 : top)));
      CHECK_FALSE(std::signbit(o));
      if (top == -infinity) {
        CHECK(lse == -infinity);
      } else {
        CHECK(std::fabs(lse - (top + std::log1p(std::exp(bottom - top)))) <=
              1e-14 * (1 + std::fabs(top)));
      }
      if (bottom == -infinity) {
        CHECK(o == expected);
      }
    }
  };
  check(0, 1, 0, 3, 2);
  check(1, 1, 0, 0, 1 / (1 + std::exp(-1)));
  check(-infinity, quiet_nan, 5, 7, 7);
  check(-5, 7, -infinity, infinity, 7);
  check(-infinity, quiet_nan, -infinity, quiet_nan, 0);
  check(1e4, 2, -1e4, 3, 2);
  check(-1e4, 2, -1e4, 4, 3);
}

TEST_CASE("threads and batches move no bits of a merge", "[merge_attention][threads]") {
  merge_case c{.P = 5, .B = 3, .T = 70, .H = 3, .V = 33, .empty = 2};
  merge_problem p(c);
  const merge_calls calls = merge_calls_for<float, float, float>();
  calls.run(p, {});
  const auto bits = p.o.all_bits();
  const auto sums = p.lse.all_bits();
  for (const int threads : {1, 2, 3}) {
    for (const std::uint64_t shuffle : {0u, 1u, 2u}) {
      p.clear_outputs();
      pool_executor pool(threads, shuffle);
      calls.run(p, {.executor = pool});
      CAPTURE(threads, shuffle);
      CHECK((p.o.all_bits() == bits));
      CHECK((p.lse.all_bits() == sums));
    }
  }
  // One token of one sequence, alone.
  for (const auto& token : {std::pair{0, 0}, std::pair{1, 17}, std::pair{2, 69}}) {
    const std::int64_t b = token.first;  // clang 14 captures no structured binding
    const std::int64_t t = token.second;
    merge_case single = c;
    single.B = single.T = 1;
    merge_problem one(single);
    one.o_parts.for_each([&](const tensor<5>::index& i) {
      one.o_parts.set(i, p.o_parts[{i[0], b, t, i[3], i[4]}]);
    });
    one.lse_parts.for_each(
        [&](const tensor<4>::index& i) { one.lse_parts.set(i, p.lse_parts[{i[0], b, i[2], t}]); });
    calls.run(one, {});
    bool same = true;
    one.o.for_each(
        [&](const tensor<4>::index& i) { same &= one.o.bits(i) == p.o.bits({b, t, i[2], i[3]}); });
    CHECK(same);
  }
}

TEST_CASE("a non-finite part reaches its own row only", "[merge_attention]") {
  merge_case c{.P = 3, .B = 2, .T = 20, .H = 3, .V = 21};
  const merge_calls calls = merge_calls_for<float, float, float>();
  for (const char* how : {"rows", "naive"}) {
    merge_problem p(c);
    const seqmix::context ctx{.pin = {.implementation = how}};
    calls.run(p, ctx);
    const merge_problem clean = p;
    for (const double poison : {quiet_nan, infinity}) {
      // In a value: one element. In a log-sum-exp: one row.
      merge_problem value = clean;
      value.o_parts.set({1, 1, 7, 2, 5}, poison);
      calls.run(value, ctx);
      merge_problem sum = clean;
      sum.lse_parts.set({1, 1, 2, 7}, poison);
      calls.run(sum, ctx);
      bool right = true;
      clean.o.for_each([&](const tensor<4>::index& i) {
        const bool row = i[0] == 1 && i[1] == 7 && i[2] == 2;
        right &= row && i[3] == 5 ? !std::isfinite(value.o[i]) : value.o.bits(i) == clean.o.bits(i);
        right &= row ? std::isnan(sum.o[i]) : sum.o.bits(i) == clean.o.bits(i);
      });
      clean.lse.for_each([&](const tensor<3>::index& i) {
        const bool row = i[0] == 1 && i[1] == 2 && i[2] == 7;
        right &= value.lse.bits(i) == clean.lse.bits(i);
        right &= row ? !std::isfinite(sum.lse[i]) : sum.lse.bits(i) == clean.lse.bits(i);
      });
      CAPTURE(how, poison);
      CHECK(right);
    }
  }
}
