// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <ostream>
#include <seqmix/ops/rope/rope.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pairwise.hpp"
#include "support/pool.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;
using seqmix::rope_axes;
using seqmix::rope_layout;
using seqmix::rope_options;

namespace {

struct rope_case {
  std::int64_t B = 1, T = 1, H = 1, D = 8;
  std::int64_t dims = 0;  // rotary_dims
  rope_layout pairs = rope_layout::half_split;
  double base = 10000;
  scalar_type positions = scalar_type::none;
  std::int64_t offset = 0;
  rope_axes axes = rope_axes::one;
  scalar_type second = scalar_type::i32;  // of second positions, unless axes is one
  double second_base = 0;
  layout x = layout::dense, o = layout::dense;
  scalar_type x_type = scalar_type::f32, o_type = scalar_type::f32;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const rope_case& c) {
    return out << "{B " << c.B << ", T " << c.T << ", H " << c.H << ", D " << c.D << ", dims "
               << c.dims << ", " << (c.pairs == rope_layout::half_split ? "half" : "interleaved")
               << ", base " << c.base << ", positions " << name(c.positions) << " + " << c.offset
               << ", axes " << static_cast<int>(c.axes) << " " << name(c.second) << " base "
               << c.second_base << ", layouts " << name(c.x) << " " << name(c.o) << ", types "
               << name(c.x_type) << " " << name(c.o_type) << ", seed " << c.seed << "}";
  }
};

struct rope_problem {
  rope_case c;
  tensor<4> x, o;
  tensor<2> positions, second;

  explicit rope_problem(const rope_case& which)
      : c(which), x(c.x_type, {c.B, c.T, c.H, c.D}, c.x), o(c.o_type, {c.B, c.T, c.H, c.D}, c.o) {
    x.fill(c.seed);
    if (c.positions != scalar_type::none) {
      positions = random_positions(c.positions, c.seed);
    }
    if (c.axes != rope_axes::one) {
      second = random_positions(c.second, c.seed + 77777);
    }
  }

  tensor<2> random_positions(scalar_type type, std::uint64_t seed) const {
    tensor<2> r(type, {c.B, c.T}, seed % 2 == 0 ? layout::strided : layout::dense);
    r.for_each([&](const tensor<2>::index& i) {
      const auto key = static_cast<std::uint64_t>(i[0] * 1000 + i[1]) + seed * 100000;
      r.set(i, static_cast<double>(static_cast<std::int64_t>(mix(key) % 4001) - 2000));
    });
    return r;
  }

  rope_options options() const {
    rope_options r{.layout = c.pairs,
                   .base = c.base,
                   .rotary_dims = c.dims,
                   .position_offset = c.offset,
                   .axes = c.axes};
    if (c.positions != scalar_type::none) {
      r.positions = any_positions(positions, c.positions);
    }
    if (c.axes != rope_axes::one) {
      r.second_positions = any_positions(second, c.second);
      r.second_base = c.second_base;
    }
    return r;
  }

  static seqmix::any_view<2> any_positions(const tensor<2>& from, scalar_type type) {
    if (type == scalar_type::i32) {
      return from.view<const std::int32_t>();
    }
    return from.view<const std::int64_t>();
  }

  std::int64_t position(std::int64_t b, std::int64_t t) const {
    return c.offset +
           (c.positions == scalar_type::none ? t : static_cast<std::int64_t>(positions[{b, t}]));
  }

  /// What is wrong with `result`; empty when nothing is. Angles in long double.
  std::string verify(const tensor<4>& result) const {
    const std::int64_t rotary = c.dims == 0 ? c.D : c.dims;
    const std::int64_t dims = c.axes == rope_axes::split ? rotary / 2 : rotary;
    const double second_base = c.second_base == 0 ? c.base : c.second_base;
    double far = 0;
    std::vector<double> expected;
    result.for_each([&](const tensor<4>::index& i) {
      if (i[3] >= rotary) {
        expected.push_back(x[i]);
        return;
      }
      const std::int64_t start = i[3] / dims * dims;  // of the channels that this one turns with
      const std::int64_t d = i[3] - start;
      const bool half = c.pairs == rope_layout::half_split;
      const std::int64_t pair = half ? d % (dims / 2) : d / 2;
      const bool upper = half ? d >= dims / 2 : d % 2 == 1;
      const std::int64_t other = start + (half ? (upper ? d - dims / 2 : d + dims / 2) : d ^ 1);
      const auto turn = [&](double place, double base) {
        return static_cast<long double>(place) *
               std::pow(static_cast<long double>(base),
                        -2.0L * static_cast<long double>(pair) / static_cast<long double>(dims));
      };
      const double p = static_cast<double>(position(i[0], i[1]));
      const double p2 = c.axes == rope_axes::one ? 0 : second[{i[0], i[1]}];
      far = std::max(far, std::fabs(p) + std::fabs(p2));
      const long double angle = (start == 0 ? turn(p, c.base) : 0) +
                                (start > 0 || c.axes == rope_axes::sum ? turn(p2, second_base) : 0);
      const double cosine = static_cast<double>(std::cos(angle));
      const double sine = static_cast<double>(std::sin(angle));
      const double partner = x[{i[0], i[1], i[2], other}];
      expected.push_back(upper ? x[i] * cosine + partner * sine : x[i] * cosine - partner * sine);
    });
    tolerance t = tolerance_of(c.o_type);
    if (c.o_type == scalar_type::f64) {
      const double angle_error = far * 1e-15;  // of an angle that is computed in double
      t = {t.ceiling + angle_error, t.target + angle_error, 0, t.element + 4 * angle_error};
    }
    std::string text =
        compare(result.values(), expected, t, bound::target, result.size() < 64 ? 1 : 0);
    return text + (result.gaps_untouched() ? "" : "; memory around the elements was written");
  }
};

struct rope_calls {
  scalar_type x, o;
  void (*run)(rope_problem&, const seqmix::context&);
  void (*run_packed)(rope_problem&, const seqmix::context&);
  void (*run_inplace)(rope_problem&, const seqmix::context&);  // null when the types differ
  std::size_t (*workspace_bytes)(rope_problem&, const seqmix::context&);
};

template <class TX, class TO>
rope_calls rope_calls_for() {
  rope_calls r{seqmix::scalar_type_of<TX>,
               seqmix::scalar_type_of<TO>,
               [](rope_problem& p, const seqmix::context& ctx) {
                 seqmix::rope(p.x.view<const TX>(), p.o.view<TO>(), p.options(), ctx);
               },
               [](rope_problem& p, const seqmix::context& ctx) {
                 seqmix::rope(p.x.packed_view<const TX>(), p.o.packed_view<TO>(), p.options(), ctx);
               },
               nullptr,
               [](rope_problem& p, const seqmix::context& ctx) {
                 return seqmix::rope.workspace_bytes(p.x.view<TX>(), p.o.view<TO>(), p.options(),
                                                     ctx);
               }};
  if constexpr (std::is_same_v<TX, TO>) {
    r.run_inplace = [](rope_problem& p, const seqmix::context& ctx) {
      seqmix::rope_inplace(p.o.view<TO>(), p.options(), ctx);
    };
  }
  return r;
}

rope_problem turned(rope_case c, const tensor<4>& x) {
  rope_problem p(c);
  p.x.for_each([&](const tensor<4>::index& i) { p.x.set(i, x[i]); });
  rope_calls_for<double, double>().run(p, {});
  return p;
}

constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::misaligned,
                              layout::broadcast};

}  // namespace

TEST_CASE("rope against the definition", "[rope][threads]") {
  constexpr std::int64_t times[] = {0, 1, 2, 15, 16, 17, 65};
  constexpr std::int64_t widths[] = {2, 6, 8, 60, 64, 100, 128, 256};
  constexpr std::int64_t offsets[] = {0, 5, -3, 1000000};
  constexpr double bases[] = {10000, 1, 500000.5};
  constexpr scalar_type positions[] = {scalar_type::none, scalar_type::i32, scalar_type::i64};
  constexpr rope_axes axes[] = {rope_axes::one, rope_axes::split, rope_axes::sum};
  constexpr double second_bases[] = {0, 100, 2500000};
  const rope_calls calls[] = {rope_calls_for<float, float>(), rope_calls_for<double, double>(),
                              rope_calls_for<f16, f16>(),     rope_calls_for<bf16, bf16>(),
                              rope_calls_for<bf16, float>(),  rope_calls_for<float, bf16>()};
  const test_plan plan = pairwise_plan({std::size(times), std::size(widths), 3, 2, 2, 4, 3, 3, 7, 6,
                                        std::size(calls), 3, 3, 3, 3, 2, 3},
                                       4);
  std::uint64_t seed = 0;
  int in_place = 0;
  for (const std::vector<int>& row : plan) {
    const auto at = [&](std::size_t f) { return static_cast<std::size_t>(row[f]); };
    const rope_calls& call = calls[at(10)];
    rope_case c{.B = 1 + row[11], .T = times[at(0)], .H = 1 + 2 * row[4], .D = widths[at(1)]};
    c.axes = axes[at(14)];
    c.second = positions[1 + at(15)];
    c.second_base = second_bases[at(16)];
    const std::int64_t unit = c.axes == rope_axes::split ? 4 : 2;
    c.D = (c.D + unit - 1) / unit * unit;
    c.dims = row[2] == 0 ? 0 : row[2] == 1 ? c.D : c.D / 2 / unit * unit;
    c.pairs = row[3] == 0 ? rope_layout::half_split : rope_layout::interleaved;
    c.offset = offsets[at(5)];
    c.base = bases[at(6)];
    c.positions = positions[at(7)];
    c.x = layouts[at(8)];
    c.o = layouts[at(9)];
    c.x_type = call.x;
    c.o_type = call.o;
    c.seed = ++seed;
    rope_problem p(c);
    for (const char* how : {"", "naive"}) {
      p.o.clear();
      pool_executor pool(1 + row[12], row[13] == 2 ? seed : 0);
      seqmix::context ctx;
      ctx.executor = pool;
      ctx.pin.implementation = how;
      guarded_workspace scratch(call.workspace_bytes(p, ctx), static_cast<std::size_t>(row[12]));
      if (row[13] > 0) {
        ctx.workspace = scratch.span();
      }
      call.run(p, ctx);
      std::string problem =
          p.verify(p.o) + (scratch.guards_untouched() ? "" : "; memory around the workspace");
      if (c.B == 1) {
        const auto bits = p.o.all_bits();
        p.o.clear();
        call.run_packed(p, ctx);
        problem += p.o.all_bits() == bits ? "" : "; the packed form differs";
      }
      if (call.run_inplace != nullptr && c.x != layout::broadcast) {
        ++in_place;
        p.o.for_each([&](const tensor<4>::index& i) { p.o.set(i, p.x[i]); });
        call.run_inplace(p, ctx);
        problem += p.verify(p.o).empty() ? "" : "; in place: " + p.verify(p.o);
      }
      if (!problem.empty()) {
        CAPTURE(c, how);
        FAIL_CHECK(problem);
      }
    }
  }
  std::printf("rope, pairwise: %zu cases, %d in place\n", plan.size(), in_place);
  CHECK(plan.size() >= 56);
}

TEST_CASE("hand cases of rope", "[rope]") {
  // Two pairs with base 1: every pair turns by the position, in radians.
  const double x[] = {1, 2, 3, 4};
  double o[4] = {};
  const auto in = seqmix::view(x, 1, 1, 1, 4);
  const auto out = seqmix::view(o, 1, 1, 1, 4);
  const double c = std::cos(2.0);
  const double s = std::sin(2.0);
  seqmix::rope(in, out, {.layout = rope_layout::interleaved, .base = 1, .position_offset = 2});
  CHECK(compare({o, o + 4}, {c - 2 * s, 2 * c + s, 3 * c - 4 * s, 4 * c + 3 * s},
                tolerance_of(scalar_type::f64)) == "");
  seqmix::rope(in, out, {.layout = rope_layout::half_split, .base = 1, .position_offset = 2});
  CHECK(compare({o, o + 4}, {c - 3 * s, 2 * c - 4 * s, 3 * c + s, 4 * c + 2 * s},
                tolerance_of(scalar_type::f64)) == "");
  // The second of two pairs turns by base^(-1/2) a position.
  seqmix::rope(in, out, {.layout = rope_layout::interleaved, .base = 100, .position_offset = 20});
  CHECK(compare({o, o + 4},
                {std::cos(20.0) - 2 * std::sin(20.0), 2 * std::cos(20.0) + std::sin(20.0),
                 3 * c - 4 * s, 4 * c + 3 * s},
                tolerance_of(scalar_type::f64), bound::ceiling) == "");
  // Position 0 turns nothing; channels from rotary_dims on are copied.
  seqmix::rope(in, out, {.layout = rope_layout::half_split});
  CHECK(std::equal(o, o + 4, x));
  seqmix::rope(
      in, out,
      {.layout = rope_layout::half_split, .base = 1, .rotary_dims = 2, .position_offset = 2});
  CHECK(compare({o, o + 4}, {c - 2 * s, 2 * c + s, 3, 4}, tolerance_of(scalar_type::f64)) == "");
}

TEST_CASE("a product of turned vectors depends on the distance only", "[rope]") {
  for (const rope_layout pairs : {rope_layout::interleaved, rope_layout::half_split}) {
    rope_case c{.T = 1, .H = 1, .D = 64, .x_type = scalar_type::f64, .o_type = scalar_type::f64};
    c.pairs = pairs;
    const rope_problem q(c);
    c.seed = 2;
    const rope_problem k(c);
    const auto product = [&](std::int64_t m, std::int64_t n) {
      rope_case at = c;
      at.offset = m;
      const rope_problem a = turned(at, q.x);
      at.offset = n;
      const rope_problem b = turned(at, k.x);
      double sum = 0;
      for (std::int64_t d = 0; d < c.D; ++d) {
        sum += a.o[{0, 0, 0, d}] * b.o[{0, 0, 0, d}];
      }
      return sum;
    };
    for (const std::int64_t distance : {0, 1, -7, 300}) {
      const double expected = product(distance, 0);
      for (const std::int64_t shift : {1, 17, 4096, -100}) {
        CAPTURE(distance, shift);
        CHECK(std::fabs(product(distance + shift, shift) - expected) < 1e-10);
      }
      CHECK(std::fabs(product(distance + 1000000, 1000000) - expected) < 1e-7);
    }
    // The distance does matter.
    CHECK(std::fabs(product(1, 0) - product(0, 0)) > 1e-3);
  }
}

TEST_CASE("negative positions undo positive ones", "[rope]") {
  for (const rope_layout pairs : {rope_layout::interleaved, rope_layout::half_split}) {
    rope_case c{.B = 2,
                .T = 20,
                .H = 3,
                .D = 60,
                .dims = 40,
                .x_type = scalar_type::f64,
                .o_type = scalar_type::f64};
    c.pairs = pairs;
    c.positions = scalar_type::i64;
    rope_problem there(c);
    const rope_calls calls = rope_calls_for<double, double>();
    calls.run(there, {});
    rope_problem back(c);
    back.x = there.o;
    back.positions.for_each(
        [&](const tensor<2>::index& i) { back.positions.set(i, -there.positions[i]); });
    calls.run(back, {});
    CHECK(compare(back.o.values(), there.x.values(), tolerance_of(scalar_type::f64)) == "");
  }
}

TEST_CASE("interleaved is half-split with the channels permuted", "[rope]") {
  rope_case c{.B = 2, .T = 33, .H = 2, .D = 72, .dims = 48};
  c.pairs = rope_layout::interleaved;
  rope_problem interleaved(c);
  c.pairs = rope_layout::half_split;
  rope_problem split(c);
  const auto place = [](std::int64_t d) {  // of interleaved channel d among the split ones
    return d >= 48 ? d : d % 2 * 24 + d / 2;
  };
  split.x.for_each([&](const tensor<4>::index& i) {
    split.x.set({i[0], i[1], i[2], place(i[3])}, interleaved.x[i]);
  });
  const rope_calls calls = rope_calls_for<float, float>();
  calls.run(interleaved, {});
  calls.run(split, {});
  std::vector<double> permuted;
  interleaved.o.for_each([&](const tensor<4>::index& i) {
    permuted.push_back(split.o[{i[0], i[1], i[2], place(i[3])}]);
  });
  CHECK(compare(interleaved.o.values(), permuted, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("far positions keep their angle", "[rope]") {
  // An angle in float would be off by whole radians at 2^30.
  for (const std::int64_t offset :
       {std::int64_t{1000000}, std::int64_t{1} << 30, -(std::int64_t{1} << 30)}) {
    for (const scalar_type positions : {scalar_type::none, scalar_type::i32, scalar_type::i64}) {
      rope_case c{.T = 20, .H = 2, .D = 64};
      c.offset = offset;
      c.positions = positions;
      rope_problem p(c);
      rope_calls_for<float, float>().run(p, {});
      CAPTURE(c);
      CHECK(p.verify(p.o) == "");
    }
  }
}

TEST_CASE("rope's bits depend on the token alone", "[rope][threads]") {
  for (const auto& [pairs, axes] : {std::pair{rope_layout::interleaved, rope_axes::one},
                                    std::pair{rope_layout::half_split, rope_axes::one},
                                    std::pair{rope_layout::interleaved, rope_axes::split},
                                    std::pair{rope_layout::half_split, rope_axes::split},
                                    std::pair{rope_layout::interleaved, rope_axes::sum},
                                    std::pair{rope_layout::half_split, rope_axes::sum}}) {
    rope_case c{.B = 3, .T = 50, .H = 2, .D = 44};
    c.pairs = pairs;
    c.axes = axes;
    c.second_base = 77;
    c.positions = scalar_type::i32;
    rope_problem p(c);
    const rope_calls calls = rope_calls_for<float, float>();
    calls.run(p, {});
    const auto bits = p.o.all_bits();
    for (const int threads : {1, 2, 3}) {
      for (const std::uint64_t shuffle : {0u, 5u}) {
        p.o.clear();
        pool_executor pool(threads, shuffle);
        calls.run(p, {.executor = pool});
        CHECK((p.o.all_bits() == bits));
      }
    }
    rope_case single = c;
    single.B = single.T = 1;
    single.positions = scalar_type::none;
    for (const auto& token : {std::pair{0, 0}, std::pair{1, 16}, std::pair{2, 49}}) {
      const std::int64_t b = token.first;  // clang 14 captures no structured binding
      const std::int64_t t = token.second;
      single.offset = p.position(b, t);
      rope_problem one(single);
      if (c.axes != rope_axes::one) {
        one.second.set({0, 0}, p.second[{b, t}]);
      }
      one.x.for_each([&](const tensor<4>::index& i) { one.x.set(i, p.x[{b, t, i[2], i[3]}]); });
      calls.run(one, {});
      bool same = true;
      one.o.for_each([&](const tensor<4>::index& i) {
        same &= one.o.bits(i) == p.o.bits({b, t, i[2], i[3]});
      });
      CHECK(same);
    }
  }
}

TEST_CASE("a non-finite channel reaches its own pair only", "[rope]") {
  for (const rope_layout pairs : {rope_layout::interleaved, rope_layout::half_split}) {
    for (const double poison :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      rope_case c{.B = 2, .T = 20, .H = 2, .D = 40};
      c.pairs = pairs;
      rope_problem p(c);
      const rope_calls calls = rope_calls_for<float, float>();
      calls.run(p, {});
      rope_problem planted = p;
      planted.x.set({1, 9, 1, 4}, poison);
      calls.run(planted, {});
      const std::int64_t partner = pairs == rope_layout::interleaved ? 5 : 24;
      bool right = true;
      p.o.for_each([&](const tensor<4>::index& i) {
        const bool hit = i[0] == 1 && i[1] == 9 && i[2] == 1 && (i[3] == 4 || i[3] == partner);
        right &= hit ? !std::isfinite(planted.o[i]) : planted.o.bits(i) == p.o.bits(i);
      });
      CHECK(right);
    }
  }
}
