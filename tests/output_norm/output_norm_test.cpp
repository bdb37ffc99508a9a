// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <ostream>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/pairwise.hpp"
#include "support/pool.hpp"
#include "support/sparse_memory.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;
using seqmix::output_gate;
using seqmix::output_gate_place;
using seqmix::output_norm_kind;
using seqmix::output_norm_options;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// Which extents a weight or bias has.
enum class vector_shape { none, channels, heads, both, single };

struct norm_case {
  std::int64_t B = 1, T = 1, H = 1, D = 8;
  output_norm_kind kind = output_norm_kind::rms;
  double eps = 1e-6;
  double magnitude = 1;
  double mean = 0;
  vector_shape weight = vector_shape::none, bias = vector_shape::none;
  output_gate by = output_gate::none;
  output_gate_place place = output_gate_place::after_norm;
  layout x = layout::dense, o = layout::dense, gate = layout::dense;
  scalar_type x_type = scalar_type::f32, o_type = scalar_type::f32, gate_type = scalar_type::f32,
              weight_type = scalar_type::f32;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const norm_case& c) {
    return out << "{B " << c.B << ", T " << c.T << ", H " << c.H << ", D " << c.D << ", kind "
               << static_cast<int>(c.kind) << ", eps " << c.eps << ", magnitude " << c.magnitude
               << ", mean " << c.mean << ", weight " << static_cast<int>(c.weight) << ", bias "
               << static_cast<int>(c.bias) << ", gate " << static_cast<int>(c.by)
               << (c.place == output_gate_place::before_norm ? " before" : "") << ", layouts "
               << name(c.x) << " " << name(c.o) << " " << name(c.gate) << ", types "
               << name(c.x_type) << " " << name(c.o_type) << " " << name(c.gate_type) << " "
               << name(c.weight_type) << ", seed " << c.seed << "}";
  }
};

struct norm_problem {
  norm_case c;
  tensor<4> x, o, gate;
  tensor<2> weight, bias;

  explicit norm_problem(const norm_case& which)
      : c(which), x(c.x_type, {c.B, c.T, c.H, c.D}, c.x), o(c.o_type, {c.B, c.T, c.H, c.D}, c.o) {
    x.fill(c.seed, c.magnitude);
    x.for_each([&](const tensor<4>::index& i) { x.set(i, x[i] + c.mean); });
    weight = random_vector(c.weight, c.seed * 3 + 1);
    bias = random_vector(c.bias, c.seed * 3 + 2);
    if (c.by != output_gate::none) {
      gate = tensor<4>(c.gate_type, {c.B, c.T, c.H, c.D}, c.gate);
      gate.fill(c.seed * 3 + 3, c.seed % 4 == 0 ? 60 : 2);
    }
  }

  tensor<2> random_vector(vector_shape shape, std::uint64_t seed) const {
    if (shape == vector_shape::none) {
      return {};
    }
    const bool heads = shape == vector_shape::heads || shape == vector_shape::both;
    const bool channels = shape == vector_shape::channels || shape == vector_shape::both;
    tensor<2> v(c.weight_type, {heads ? c.H : 1, channels ? c.D : 1},
                c.seed % 2 == 0 ? layout::reversed : layout::strided);
    v.fill(seed);
    return v;
  }

  output_norm_options options() const {
    output_norm_options r{.kind = c.kind, .eps = c.eps, .gate_by = c.by, .gate_place = c.place};
    if (c.weight != vector_shape::none) {
      r.weight = real_view(weight);
    }
    if (c.bias != vector_shape::none) {
      r.bias = real_view(bias);
    }
    if (c.by != output_gate::none) {
      r.gate = real_view(gate);
    }
    return r;
  }

  static long double repeated(const tensor<2>& v, std::int64_t h, std::int64_t d) {
    return v[{v.extent(0) == 1 ? 0 : h, v.extent(1) == 1 ? 0 : d}];
  }

  long double open(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) const {
    const long double g = gate[{b, t, h, d}];
    const long double sigmoid = 1 / (1 + std::exp(-g));
    return c.by == output_gate::plain ? g : c.by == output_gate::sigmoid ? sigmoid : g * sigmoid;
  }

  /// The definition in long double, of row (b, t, h).
  std::vector<long double> expected_row(std::int64_t b, std::int64_t t, std::int64_t h) const {
    std::vector<long double> y;
    const auto n = static_cast<long double>(c.D);
    long double sum = 0;
    for (std::int64_t d = 0; d < c.D; ++d) {
      y.push_back(x[{b, t, h, d}] *
                  (c.place == output_gate_place::before_norm ? open(b, t, h, d) : 1));
      sum += y.back();
    }
    long double squares = 0;
    for (long double& value : y) {
      value -= c.kind == output_norm_kind::layer_norm ? sum / n : 0;
      squares += value * value;
    }
    const long double length = std::sqrt(squares);
    const auto eps = static_cast<long double>(c.eps);
    const long double below = c.kind == output_norm_kind::srms
                                  ? std::max(length, eps) / std::sqrt(n)
                              : c.kind == output_norm_kind::l2 ? std::sqrt(squares + eps)
                                                               : std::sqrt(squares / n + eps);
    for (std::int64_t d = 0; d < c.D; ++d) {
      long double& value = y[static_cast<std::size_t>(d)];
      value = squares == 0 ? 0 : value / below;
      value *= c.weight == vector_shape::none ? 1 : repeated(weight, h, d);
      value += c.bias == vector_shape::none ? 0 : repeated(bias, h, d);
      if (c.by != output_gate::none && c.place == output_gate_place::after_norm) {
        value *= open(b, t, h, d);
      }
    }
    return y;
  }

  std::vector<double> expected() const {
    std::vector<double> all;
    for (std::int64_t b = 0; b < c.B; ++b) {
      for (std::int64_t t = 0; t < c.T; ++t) {
        for (std::int64_t h = 0; h < c.H; ++h) {
          for (const long double value : expected_row(b, t, h)) {
            all.push_back(static_cast<double>(value));
          }
        }
      }
    }
    return all;
  }

  /// What is wrong with `result`; empty when nothing is.
  std::string verify(const tensor<4>& result) const {
    tolerance t = tolerance_of(c.o_type);
    if (c.o_type == scalar_type::f64) {
      t.ceiling = t.target = 1e-14 + 1e-15 * std::fabs(c.mean / c.magnitude);
    }
    const std::string text =
        compare(result.values(), expected(), t, bound::target, result.size() < 64 ? 1 : 0);
    return text + (result.gaps_untouched() ? "" : "; memory around the elements was written");
  }
};

struct norm_calls {
  scalar_type x, o;
  void (*run)(norm_problem&, const seqmix::context&);
  void (*run_packed)(norm_problem&, const seqmix::context&);
  void (*run_inplace)(norm_problem&, const seqmix::context&);  // null when the types differ
  std::size_t (*workspace_bytes)(norm_problem&, const seqmix::context&);
};

template <class TX, class TO>
norm_calls norm_calls_for() {
  norm_calls r{seqmix::scalar_type_of<TX>,
               seqmix::scalar_type_of<TO>,
               [](norm_problem& p, const seqmix::context& ctx) {
                 seqmix::output_norm(p.x.view<const TX>(), p.o.view<TO>(), p.options(), ctx);
               },
               [](norm_problem& p, const seqmix::context& ctx) {
                 seqmix::output_norm(p.x.packed_view<const TX>(), p.o.packed_view<TO>(),
                                     p.options(), ctx);
               },
               nullptr,
               [](norm_problem& p, const seqmix::context& ctx) {
                 return seqmix::output_norm.workspace_bytes(p.x.view<TX>(), p.o.view<TO>(),
                                                            p.options(), ctx);
               }};
  if constexpr (std::is_same_v<TX, TO>) {
    r.run_inplace = [](norm_problem& p, const seqmix::context& ctx) {
      seqmix::output_norm_inplace(p.o.view<TO>(), p.options(), ctx);
    };
  }
  return r;
}

constexpr output_norm_kind kinds[] = {output_norm_kind::rms, output_norm_kind::layer_norm,
                                      output_norm_kind::srms, output_norm_kind::l2};
constexpr output_gate gates[] = {output_gate::none, output_gate::plain, output_gate::sigmoid,
                                 output_gate::silu};
constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::misaligned,
                              layout::broadcast};

std::vector<double> norm_of(const std::vector<double>& x, const output_norm_options& options) {
  const auto n = static_cast<std::int64_t>(x.size());
  std::vector<double> o(x.size());
  seqmix::output_norm(seqmix::view(x.data(), 1, 1, 1, n), seqmix::view(o.data(), 1, 1, 1, n),
                      options);
  return o;
}

}  // namespace

TEST_CASE("output_norm against the definition", "[output_norm][threads]") {
  constexpr std::int64_t times[] = {0, 1, 2, 15, 16, 17, 40};
  constexpr std::int64_t widths[] = {1, 2, 7, 8, 31, 32, 33, 60, 64, 100, 128, 257};
  constexpr double epsilons[] = {1e-6, 1e-2, 3, 1e-12};
  constexpr double magnitudes[] = {1, 1e-3, 200};
  constexpr scalar_type types[] = {scalar_type::f32, scalar_type::f64, scalar_type::f16,
                                   scalar_type::bf16};
  const norm_calls calls[] = {norm_calls_for<float, float>(), norm_calls_for<double, double>(),
                              norm_calls_for<f16, f16>(),     norm_calls_for<bf16, bf16>(),
                              norm_calls_for<bf16, float>(),  norm_calls_for<float, bf16>(),
                              norm_calls_for<double, float>()};
  const test_plan plan = pairwise_plan({std::size(times), std::size(widths), std::size(kinds), 4, 3,
                                        2, 5, 5, 7, 7, 6, 7, 4, 4, std::size(calls), 3, 2, 3, 3},
                                       7);
  std::uint64_t seed = 0;
  int in_place = 0;
  for (const std::vector<int>& row : plan) {
    const auto at = [&](std::size_t f) { return static_cast<std::size_t>(row[f]); };
    const norm_calls& call = calls[at(14)];
    norm_case c{.B = 1 + row[15], .T = times[at(0)], .H = 1 + 2 * row[16], .D = widths[at(1)]};
    c.kind = kinds[at(2)];
    c.eps = epsilons[at(3)];
    c.magnitude = magnitudes[at(4)];
    c.mean = row[5] * 3 * c.magnitude;
    c.weight = static_cast<vector_shape>(row[6]);
    c.bias = static_cast<vector_shape>(row[7]);
    c.by = gates[row[8] < 4 ? at(8) : at(8) - 3];
    c.place = row[8] < 4 ? output_gate_place::after_norm : output_gate_place::before_norm;
    c.x = layouts[at(9)];
    c.o = layouts[at(10)];
    c.gate = layouts[at(11)];
    c.gate_type = types[at(12)];
    c.weight_type = types[at(13)];
    c.x_type = call.x;
    c.o_type = call.o;
    c.seed = ++seed;
    norm_problem p(c);
    for (const char* how : {"", "naive"}) {
      p.o.clear();
      pool_executor pool(1 + row[17], row[18] == 2 ? seed : 0);
      seqmix::context ctx;
      ctx.executor = pool;
      ctx.pin.implementation = how;
      guarded_workspace scratch(call.workspace_bytes(p, ctx), static_cast<std::size_t>(row[17]));
      if (row[18] > 0) {
        ctx.workspace = scratch.span();
      }
      call.run(p, ctx);
      std::string problem =
          p.verify(p.o) + (scratch.guards_untouched() ? "" : "; memory around the workspace");
      const auto bits = p.o.all_bits();
      if (c.B == 1) {
        p.o.clear();
        call.run_packed(p, ctx);
        problem += p.o.all_bits() == bits ? "" : "; the packed form differs";
      }
      if (call.run_inplace != nullptr) {
        ++in_place;
        p.o.for_each([&](const tensor<4>::index& i) { p.o.set(i, p.x[i]); });
        call.run_inplace(p, ctx);
        problem += p.o.all_bits() == bits ? "" : "; in place differs";
      }
      if (!problem.empty()) {
        CAPTURE(c, how);
        FAIL_CHECK(problem);
      }
    }
  }
  std::printf("output_norm, pairwise: %zu cases, %d in place\n", plan.size(), in_place);
  CHECK(plan.size() >= 84);
}

TEST_CASE("hand cases of output_norm", "[output_norm]") {
  const tolerance t = tolerance_of(scalar_type::f64);
  const std::vector<double> x{3, 0, -4, 0};
  // Mean square 6.25, length 5, and eps where each kind has it.
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::rms, .eps = 0}), {1.2, 0, -1.6, 0}, t) == "");
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::rms, .eps = 2.75}), {1, 0, -4.0 / 3, 0}, t) ==
        "");
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::srms, .eps = 4.9}), {1.2, 0, -1.6, 0}, t) ==
        "");
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::srms, .eps = 8}), {0.75, 0, -1, 0}, t) == "");
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::l2, .eps = 0}), {0.6, 0, -0.8, 0}, t) == "");
  CHECK(compare(norm_of(x, {.kind = output_norm_kind::l2, .eps = 11}), {0.5, 0, -4.0 / 6, 0}, t) ==
        "");
  // Mean 2, variance (1 + 9 + 9 + 1) / 4 = 5.
  CHECK(compare(norm_of({1, 5, -1, 3}, {.kind = output_norm_kind::layer_norm, .eps = 4}),
                {-1.0 / 3, 1, -1, 1.0 / 3}, t) == "");
  // Weight, then bias, then gate.
  const double weight[] = {2, 2, 0.5, 2};
  const double bias[] = {1};
  const double gate[] = {0, 1, -1, 2};
  const output_norm_options all{.kind = output_norm_kind::srms,
                                .eps = 0,
                                .weight = seqmix::view(weight, 1, 4),
                                .bias = seqmix::view(bias, 1, 1),
                                .gate = seqmix::view(gate, 1, 1, 1, 4)};
  const std::vector<double> before{3.4, 1, 0.2, 1};
  for (const output_gate by : {output_gate::plain, output_gate::sigmoid, output_gate::silu}) {
    output_norm_options options = all;
    options.gate_by = by;
    std::vector<double> expected;
    for (std::size_t i = 0; i < 4; ++i) {
      const double open = 1 / (1 + std::exp(-gate[i]));
      expected.push_back(before[i] * (by == output_gate::plain     ? gate[i]
                                      : by == output_gate::sigmoid ? open
                                                                   : gate[i] * open));
    }
    CHECK(compare(norm_of(x, options), expected, t) == "");
  }
}

TEST_CASE("rows of zeros, constant rows and far magnitudes", "[output_norm]") {
  const auto check = [](const norm_case& c, const std::vector<double>& values) {
    norm_problem p(c);
    p.x.for_each([&](const tensor<4>::index& i) {
      p.x.set(i, values[static_cast<std::size_t>(i[3]) % values.size()]);
    });
    for (const char* how : {"", "naive"}) {
      p.o.clear();
      norm_calls_for<float, float>().run(p, {.pin = {.implementation = how}});
      CAPTURE(c, values, how);
      CHECK(p.verify(p.o) == "");
    }
    return p.o.values();
  };
  for (const output_norm_kind kind : kinds) {
    for (const double eps : {0.0, 1e-6}) {
      if (kind == output_norm_kind::layer_norm && eps == 0) {
        continue;
      }
      const norm_case c{.T = 3, .H = 2, .D = 60, .kind = kind, .eps = eps};
      for (const double value : check(c, {0})) {
        CHECK(value == 0);
      }
      // The squares of these are infinities, or zeros, in float.
      check(c, {1e30, -3e30, 2e29, 7});
      check(c, {3e38, -3e38, 1e38});
      check(c, {1e-30, -3e-30, 2e-29});
      check(c, {1e-44, -4e-44});
    }
  }
  const norm_case flat{.T = 2, .D = 60, .kind = output_norm_kind::layer_norm, .eps = 1e-12};
  for (const double constant : {1.0, 3e10, -0.1, 3e38}) {
    for (const double value : check(flat, {static_cast<float>(constant)})) {
      CHECK(value == 0);
    }
  }
  // What is left of such rows is their last bits, and these are exact.
  check(flat, {16777215, 16777214, 16777213});
  check(flat, {1000, 1000.5, 1001, 999});
}

TEST_CASE("a large mean costs layer_norm no digits", "[output_norm]") {
  for (const double mean : {1e2, -1e4, 1e6}) {
    for (const std::int64_t D : {7, 60, 257}) {
      norm_case c{.B = 2, .T = 9, .H = 2, .D = D, .kind = output_norm_kind::layer_norm};
      c.mean = mean;
      norm_problem p(c);
      norm_calls_for<float, float>().run(p, {});
      CAPTURE(c);
      CHECK(p.verify(p.o) == "");
    }
  }
}

TEST_CASE("a norm hides positive factors of its rows", "[output_norm]") {
  // Exactly, without eps, for powers of two: a test of what stands before a norm, made behind it,
  // would let a wrong scale pass.
  for (const output_norm_kind kind :
       {output_norm_kind::rms, output_norm_kind::srms, output_norm_kind::l2}) {
    const norm_case c{.B = 2, .T = 9, .H = 2, .D = 44, .kind = kind, .eps = 0};
    norm_problem p(c);
    norm_problem scaled(c);
    scaled.x.for_each([&](const tensor<4>::index& i) {
      scaled.x.set(i, p.x[i] * std::exp2(static_cast<double>(i[1] - 4)));
    });
    const norm_calls calls = norm_calls_for<float, float>();
    calls.run(p, {});
    calls.run(scaled, {});
    CHECK((p.o.all_bits() == scaled.o.all_bits()));
    // So does not the sign, and so does not eps, of the order of the row.
    scaled.x.for_each([&](const tensor<4>::index& i) { scaled.x.set(i, -p.x[i]); });
    calls.run(scaled, {});
    CHECK((p.o.all_bits() != scaled.o.all_bits()));
    norm_case large = c;
    large.eps = kind == output_norm_kind::rms ? 1 : kind == output_norm_kind::l2 ? 44 : 20;
    norm_problem one(large);
    norm_problem half(large);
    half.x.for_each([&](const tensor<4>::index& i) { half.x.set(i, one.x[i] / 2); });
    calls.run(one, {});
    calls.run(half, {});
    CHECK(measure(half.o.values(), one.o.values()).rms > 0.1);
  }
  // The factor of the operator itself is not free: rows have length sqrt(D).
  for (const std::int64_t D : {1, 5, 64}) {
    norm_problem p({.T = 4, .D = D, .kind = output_norm_kind::srms});
    norm_calls_for<float, float>().run(p, {});
    for (std::int64_t t = 0; t < 4; ++t) {
      double squares = 0;
      for (std::int64_t d = 0; d < D; ++d) {
        squares += p.o[{0, t, 0, d}] * p.o[{0, t, 0, d}];
      }
      CHECK(std::fabs(std::sqrt(squares / static_cast<double>(D)) - 1) < 1e-6);
    }
  }
}

TEST_CASE("attention and its norm, each against its definition", "[output_norm]") {
  // The attention is compared before the norm, where its scale shows.
  const std::int64_t T = 20, H = 3, D = 12;
  tensor<4> q(scalar_type::f64, {1, T, H, D});
  tensor<4> o(scalar_type::f64, {1, T, H, D});
  tensor<4> expected(scalar_type::f64, {1, T, H, D});
  q.fill(5);
  const auto x = q.view<const double>();
  seqmix::softmax_attention(x, x, x, o.view<double>(), {.scale = 0.3, .causal = true});
  seqmix::naive_softmax_attention(x, x, x, expected.view<double>(), {.scale = 0.3, .causal = true});
  CHECK(compare(o.values(), expected.values(), tolerance_of(scalar_type::f64)) == "");
  for (const output_norm_kind kind : kinds) {
    norm_problem p({.T = T,
                    .H = H,
                    .D = D,
                    .kind = kind,
                    .x_type = scalar_type::f64,
                    .o_type = scalar_type::f64});
    p.x = o;
    norm_calls_for<double, double>().run(p, {});
    CHECK(p.verify(p.o) == "");
  }
}

TEST_CASE("output_norm's bits depend on the row alone", "[output_norm][threads]") {
  for (const output_norm_kind kind : kinds) {
    for (const output_gate by : gates) {
      norm_case c{.B = 3, .T = 37, .H = 2, .D = 45, .kind = kind};
      c.weight = vector_shape::both;
      c.bias = vector_shape::channels;
      c.by = by;
      norm_problem p(c);
      const norm_calls calls = norm_calls_for<float, float>();
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
      for (const layout memory : layouts) {
        if (memory == layout::broadcast) {
          continue;  // holds other values
        }
        norm_case other = c;
        other.x = other.gate = other.o = memory;
        norm_problem same(other);
        calls.run(same, {});
        CHECK((same.o.all_bits() == bits));
      }
      norm_case single = c;
      single.B = single.T = 1;
      for (const auto& token : {std::pair{0, 0}, std::pair{1, 16}, std::pair{2, 36}}) {
        const std::int64_t b = token.first;  // clang 14 captures no structured binding
        const std::int64_t t = token.second;
        norm_problem one(single);
        one.x.for_each([&](const tensor<4>::index& i) {
          one.x.set(i, p.x[{b, t, i[2], i[3]}]);
          if (by != output_gate::none) {
            one.gate.set(i, p.gate[{b, t, i[2], i[3]}]);
          }
        });
        calls.run(one, {});
        one.o.for_each([&](const tensor<4>::index& i) {
          CHECK(one.o.bits(i) == p.o.bits({b, t, i[2], i[3]}));
        });
      }
    }
  }
}

TEST_CASE("non-finite values stay in their row", "[output_norm]") {
  for (const output_norm_kind kind : kinds) {
    norm_case c{.B = 2, .T = 20, .H = 2, .D = 33, .kind = kind};
    c.by = output_gate::silu;
    const norm_calls calls = norm_calls_for<float, float>();
    norm_problem clean(c);
    calls.run(clean, {});
    for (const double bad : {quiet_nan, infinity, -infinity}) {
      for (const bool in_gate : {false, true}) {
        norm_problem p(c);
        (in_gate ? p.gate : p.x).set({1, 7, 1, 32}, bad);
        calls.run(p, {});
        CAPTURE(c, bad, in_gate);
        CHECK(p.verify(p.o) == "");
        p.o.for_each([&](const tensor<4>::index& i) {
          if (i[0] != 1 || i[1] != 7 || i[2] != 1) {
            CHECK(p.o.bits(i) == clean.o.bits(i));
          }
        });
      }
    }
  }
}

TEST_CASE("gates far from zero", "[output_norm]") {
  for (const output_gate by : {output_gate::sigmoid, output_gate::silu}) {
    norm_case c{.T = 2, .D = 32};
    c.by = by;
    for (const double g : {-1e30, -200.0, -80.0, 80.0, 200.0, 1e30}) {
      norm_problem p(c);
      p.gate.for_each([&](const tensor<4>::index& i) { p.gate.set(i, i[3] % 2 == 0 ? g : 0.5); });
      norm_calls_for<float, float>().run(p, {});
      CAPTURE(g);
      CHECK(p.verify(p.o) == "");
    }
  }
}

TEST_CASE("a warm output_norm allocates nothing and says what it runs", "[output_norm]") {
  norm_case c{.B = 2, .T = 20, .H = 2, .D = 33};
  c.weight = vector_shape::both;
  norm_problem p(c);
  const auto x = p.x.view<const float>();
  const auto o = p.o.view<float>();
  const output_norm_options options = p.options();
  seqmix::output_norm(x, o, options);
  const long before = allocations;
  seqmix::output_norm(x, o, options);
  CHECK(allocations == before);
  const auto report = seqmix::output_norm.explain(x, o, options);
  CHECK(report.implementation == "rows");
  CHECK(seqmix::output_norm.workspace_bytes(x, o, options) > 0);
}

TEST_CASE("strides of output_norm beyond 2^31 elements", "[output_norm]") {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 4099;
  constexpr std::size_t bytes = (static_cast<std::size_t>(far) * 2 + 100) * sizeof(float);
  const sparse_memory memory[3] = {sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes)};
  for (const sparse_memory& m : memory) {
    if (m.data() == nullptr) {
      WARN("not run: the system grants no " << (bytes >> 30) << " GiB of address space");
      return;
    }
  }
  norm_case c{.B = 3, .T = 3, .H = 3, .D = 3, .kind = output_norm_kind::layer_norm};
  c.by = output_gate::silu;
  norm_problem p(c);
  norm_calls_for<float, float>().run(p, {});
  for (std::size_t axis = 0; axis < 4; ++axis) {
    for (const std::int64_t step : {far, -far}) {
      std::int64_t strides[4] = {27, 9, 3, 1};
      strides[axis] = step;
      const auto place = [&](std::size_t i) {
        return seqmix::tensor_view<float, 4>(memory[i].data() + (step < 0 ? 2 * far : 0),
                                             {3, 3, 3, 3},
                                             {strides[0], strides[1], strides[2], strides[3]});
      };
      const auto x = place(0);
      const auto gate = place(1);
      const auto o = place(2);
      p.x.for_each([&](const tensor<4>::index& i) {
        x(i[0], i[1], i[2], i[3]) = static_cast<float>(p.x[i]);
        gate(i[0], i[1], i[2], i[3]) = static_cast<float>(p.gate[i]);
        o(i[0], i[1], i[2], i[3]) = -5;
      });
      output_norm_options options = p.options();
      options.gate = gate;
      for (const char* how : {"", "naive"}) {
        seqmix::output_norm(x, o, options, {.pin = {.implementation = how}});
        bool same = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          same &= std::fabs(o(i[0], i[1], i[2], i[3]) - p.o[i]) < 1e-5;
        });
        CAPTURE(axis, step, how);
        CHECK(same);
      }
    }
  }
}
