// SPDX-License-Identifier: Apache-2.0
#include "scan_problem.hpp"

#include <algorithm>
#include <array>
#include <complex>

#include "support/counted_new.hpp"
#include "support/pool.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;
using seqmix::elementwise_scan;
using seqmix::linear_gate;
using seqmix::naive_elementwise_scan;
using seqmix::tensor_view;

namespace {

constexpr scanned monoids[] = {scanned::log,         scanned::linear, scanned::complex,
                               scanned::log_sum_exp, scanned::max,    scanned::sum};

template <class Operator>
void run(const Operator& call, const scan_problem& p, const scan_options& options,
         const seqmix::context& ctx = {}) {
  if (p.c.o_type == scalar_type::f64) {
    scan_with<double, double, double>(call, p, options, ctx);
  } else if (p.c.b_type == scalar_type::f16) {
    scan_with<float, f16, bf16>(call, p, options, ctx);
  } else {
    scan_with<float, float, float>(call, p, options, ctx);
  }
}

struct types {
  scalar_type a, b, o, s;
};
constexpr types type_sets[] = {
    {scalar_type::f32, scalar_type::f32, scalar_type::f32, scalar_type::f32},
    {scalar_type::f64, scalar_type::f64, scalar_type::f64, scalar_type::f64},
    {scalar_type::f32, scalar_type::f16, scalar_type::bf16, scalar_type::f64},
    {scalar_type::f32, scalar_type::f32, scalar_type::f32, scalar_type::f16}};

/// Copies channel by channel what a sequence of a problem reads into a problem of its own.
scan_problem alone(const scan_problem& p, std::int64_t n) {
  scan_case c = p.c;
  c.B = 1;
  c.T = p.tokens(n);
  c.packed = false;
  c.a = c.b = c.o = layout::dense;
  scan_problem one(c);
  one.o.for_each([&](const tensor<4>::index& i) {
    one.a.set(i, p.a[p.at(n, i[1], i[2], i[3])]);
    one.b.set(i, p.b[p.at(n, i[1], i[2], i[3])]);
  });
  one.initial.for_each(
      [&](const tensor<3>::index& i) { one.initial.set(i, p.initial[{n, i[1], i[2]}]); });
  return one;
}

}  // namespace

TEST_CASE("scans of a few tokens by hand", "[elementwise_scan]") {
  const std::vector<float> a{0.5f, 2, -1, 0}, b{1, 2, 3, 4}, x{1, -3, 2, 2};
  std::vector<float> o(4);
  const auto as = [](auto& v) { return seqmix::view(v.data(), 1, 4, 1); };
  elementwise_scan(linear_gate(as(a)), as(b), as(o));
  CHECK(o == std::vector<float>{1, 4, -1, 4});
  elementwise_scan(linear_gate(as(a)), as(b), as(o), {.exclusive = true});
  CHECK(o == std::vector<float>{0, 1, 4, -1});
  elementwise_scan(linear_gate(as(a)), as(b), as(o), {.direction = scan_direction::reverse});
  CHECK(o == std::vector<float>{1, 0, -1, 4});
  elementwise_scan(as(x), as(o), {.monoid = scan_monoid::max});
  CHECK(o == std::vector<float>{1, 1, 2, 2});
  elementwise_scan(as(x), as(o), {.monoid = scan_monoid::sum, .exclusive = true});
  CHECK(o == std::vector<float>{0, 1, -2, 0});
  elementwise_scan(as(x), as(o), {.monoid = scan_monoid::log_sum_exp, .exclusive = true});
  CHECK(o[0] == static_cast<float>(-infinity));
  CHECK(o[1] == 1.0f);
  CHECK(std::abs(o[2] - std::log(std::exp(1.0) + std::exp(-3.0))) < 1e-6);
  const std::vector<float> g{0, static_cast<float>(-infinity), std::log(0.5f), 0};
  elementwise_scan(as(g), as(b), as(o));
  CHECK(o == std::vector<float>{1, 2, 4, 8});
  // i^t: (0 + 1i) (1 + 0i) and so on.
  std::vector<std::complex<float>> turn(4, {0, 1}), push(4, {0, 0}), out(4);
  const float start[] = {1, 0};
  const auto numbers = [](std::vector<std::complex<float>>& v) {
    return seqmix::view(reinterpret_cast<float*>(v.data()), 1, 4, 1, 2);
  };
  elementwise_scan(
      linear_gate(numbers(turn)), numbers(push), numbers(out),
      {.monoid = scan_monoid::affine_complex, .initial_state = seqmix::view(start, 1, 1, 2)});
  CHECK(out == std::vector<std::complex<float>>{{0, 1}, {-1, 0}, {0, -1}, {1, 0}});
}

TEST_CASE("scans equal their definition", "[elementwise_scan]") {
  const std::vector<std::int64_t> lengths{0, 1, 2, 3, 15, 16, 17, 33, 64, 65, 100, 515};
  const std::vector<std::int64_t> channels{1, 5, 8, 16, 19, 37, 64, 130};
  const test_plan plan =
      pairwise_plan({6, 3, 12, 8, 2, 2, 2, 2, 2, 8, 8, 6, std::size(type_sets)}, 20261122);
  INFO(plan.size() << " cases");
  double errors = 0;
  int plain = 0;
  for (const std::vector<int>& row : plan) {
    scan_case c;
    c.monoid = monoids[row[0]];
    c.B = row[1] + 1;
    c.T = lengths[static_cast<std::size_t>(row[2])];
    c.D = channels[static_cast<std::size_t>(row[3])];
    c.exclusive = row[4] != 0;
    c.reverse = row[5] != 0;
    c.packed = row[6] != 0;
    c.initial = row[7] != 0;
    c.final = row[8] != 0;
    c.a = static_cast<layout>(row[9]);
    c.b = static_cast<layout>(row[10]);
    c.o = static_cast<layout>(row[11]);
    const types& t = type_sets[row[12]];
    c.a_type = t.a;
    c.b_type = t.b;
    c.o_type = t.o;
    c.s_type = t.s;
    c.seed = static_cast<std::uint64_t>(row[2] * 100 + row[3]);
    CAPTURE(c);
    scan_problem p(c);
    run(elementwise_scan, p, p.options());
    const std::vector<double> expected = expected_scan(p);
    tolerance bounds = tolerance_of(p.c.o_type);
    if (c.final && c.s_type != c.o_type) {
      const tolerance of_states = tolerance_of(c.s_type);
      bounds = bounds.ceiling > of_states.ceiling ? bounds : of_states;
    }
    CHECK(compare(results(p), expected, bounds, bound::target, 1e-3) == "");
    CHECK(p.o.gaps_untouched());
    CHECK(p.final.gaps_untouched());
    if (c.o_type == scalar_type::f32 && c.s_type == scalar_type::f32) {
      errors += measure(results(p), expected, 1e-3).rms;
      ++plain;
    }
    p.o.clear();
    run(oracle_of_scans{}, p, p.options());
    CHECK(compare(results(p), expected, bounds, bound::target, 1e-3) == "");
  }
  CHECK(errors / plain < tolerance_of(scalar_type::f32).typical);
}

TEST_CASE("weak decays and long sums lose nothing", "[elementwise_scan]") {
  // A rounding error of the factors would be there anew with every token: of -1e-4, 1e4 times.
  const std::int64_t T = 60000;
  for (const double g : {-1e-4, -1e-3, -0.003, -0.12, -0.13}) {
    scan_case c{.monoid = scanned::log, .T = T, .D = 2};
    scan_problem p(c);
    p.a.for_each([&](const tensor<4>::index& i) { p.a.set(i, g); });
    run(elementwise_scan, p, p.options());
    CAPTURE(g);
    CHECK(compare(p.o.values(), expected_scan(p), tolerance_of(scalar_type::f32), bound::ceiling) ==
          "");
  }
  const float tenth = 0.1f;
  std::vector<float> o(static_cast<std::size_t>(T));
  const tensor_view<const float, 3> x(&tenth, {1, T, 1}, {0, 0, 0});
  elementwise_scan(x, seqmix::view(o.data(), 1, T, 1), {.monoid = scan_monoid::sum});
  CHECK(std::fabs(double(o.back()) - double(tenth) * double(T)) < 5e-4);
}

TEST_CASE("what is not finite stays in its channel, until a factor of zero", "[elementwise_scan]") {
  constexpr std::int64_t T = 40, D = 21;
  for (const scanned m : monoids) {
    for (const double poison : {quiet_nan, infinity, -infinity}) {
      for (const layout kind : {layout::dense, layout::head_first}) {
        CAPTURE(name(m), poison, name(kind));
        scan_case c{.monoid = m, .B = 2, .T = T, .D = D, .a = kind, .b = kind, .o = kind};
        scan_problem clean(c), dirty(c);
        dirty.b.set({0, 7, 4, 0}, poison);
        if (m == scanned::log) {
          clean.a.set({0, 20, 4, 0}, -infinity);
          dirty.a.set({0, 20, 4, 0}, -infinity);
        } else if (m == scanned::linear || m == scanned::complex) {
          for (std::int64_t part = 0; part < clean.parts; ++part) {
            clean.a.set({0, 20, 4, part}, 0);
            dirty.a.set({0, 20, 4, part}, 0);
          }
        }
        run(elementwise_scan, clean, clean.options());
        run(elementwise_scan, dirty, dirty.options());
        const bool affine = m == scanned::log || m == scanned::linear || m == scanned::complex;
        bool others_equal = true;
        dirty.o.for_each([&](const tensor<4>::index& i) {
          const bool seen = i[0] == 0 && i[2] == 4 && i[1] >= 7 && (!affine || i[1] < 20);
          others_equal &= seen || dirty.o.bits(i) == clean.o.bits(i);
        });
        CHECK(others_equal);
        const double at = dirty.o[{0, 7, 4, 0}];
        const double later = dirty.o[{0, affine ? 19 : 39, 4, 0}];
        if (std::isnan(poison)) {
          CHECK(std::isnan(at));
          CHECK(std::isnan(later));
        } else if (affine || m == scanned::sum) {
          CHECK(at == poison);
          CHECK_FALSE(std::isfinite(later));
        } else if (poison > 0) {
          CHECK(at == poison);
          CHECK(later == poison);
        } else {  // the neutral element
          CHECK(at == dirty.o[{0, 6, 4, 0}]);
        }
        // The oracle agrees on what is infinite and what is NaN.
        scan_problem oracle(c);
        oracle.b.set({0, 7, 4, 0}, poison);
        oracle.a = dirty.a;
        run(oracle_of_scans{}, oracle, oracle.options());
        CHECK(compare(dirty.o.values(), oracle.o.values(), tolerance_of(scalar_type::f32)) == "");
      }
    }
  }
}

TEST_CASE("a state that is not finite is over with a factor of zero", "[elementwise_scan]") {
  const float state = static_cast<float>(quiet_nan), none = static_cast<float>(-infinity), b = 3;
  float o = 0;
  const auto initial = seqmix::view(&state, 1, 1, 1);
  elementwise_scan(seqmix::view(&none, 1, 1, 1), seqmix::view(&b, 1, 1, 1),
                   seqmix::view(&o, 1, 1, 1), {.initial_state = initial});
  CHECK(o == 3);
}

TEST_CASE("bits do not depend on threads, batch, packing or repetition",
          "[elementwise_scan][determinism][threads]") {
  for (const scanned m : monoids) {
    for (const layout kind : {layout::dense, layout::head_first, layout::strided}) {
      scan_case c{.monoid = m,
                  .B = 3,
                  .T = 70,
                  .D = 203,
                  .initial = true,
                  .final = true,
                  .a = kind,
                  .b = kind,
                  .o = kind};
      CAPTURE(c);
      scan_problem first(c);
      run(elementwise_scan, first, first.options());
      for (const int threads : {1, 2, 3, 5, 16}) {
        CAPTURE(threads);
        scan_problem again(c);
        pool_executor pool(threads, static_cast<std::uint64_t>(threads));
        run(elementwise_scan, again, again.options(), {.executor = pool});
        CHECK(again.o.all_bits() == first.o.all_bits());
        CHECK(again.final.all_bits() == first.final.all_bits());
      }
      c.packed = true;
      c.T = 83;
      scan_problem packed(c, {0, 0, 1, 34, 83});
      run(elementwise_scan, packed, packed.options());
      for (std::int64_t n = 0; n < packed.sequences(); ++n) {
        CAPTURE(n);
        scan_problem one = alone(packed, n);
        run(elementwise_scan, one, one.options());
        bool same = true;
        one.o.for_each([&](const tensor<4>::index& i) {
          same &= one.o.bits(i) == packed.o.bits(packed.at(n, i[1], i[2], i[3]));
        });
        one.final.for_each([&](const tensor<3>::index& i) {
          same &= one.final.bits(i) == packed.final.bits({n, i[1], i[2]});
        });
        CHECK(same);
        // An empty sequence passes its state on.
        bool passed = packed.tokens(n) > 0;
        one.final.for_each(
            [&](const tensor<3>::index& i) { passed |= one.final.bits(i) == one.initial.bits(i); });
        CHECK(passed);
      }
    }
  }
}

TEST_CASE("a scan in two parts, the state in place, equals one pass", "[elementwise_scan]") {
  for (const scanned m : monoids) {
    scan_case c{.monoid = m, .B = 2, .T = 33, .D = 11, .initial = true, .final = true};
    for (const bool reverse : {false, true}) {
      c.reverse = reverse;
      scan_problem whole(c);
      const std::vector<double> expected = expected_scan(whole);
      for (std::int64_t cut = 0; cut <= c.T; ++cut) {
        CAPTURE(c, cut);
        scan_problem p(c);
        p.final = p.initial;
        for (const int part : {0, 1}) {
          const bool head = (part == 0) != reverse;
          const std::int64_t begin = head ? 0 : cut;
          const std::int64_t count = head ? cut : c.T - cut;
          const auto cut_of = [&](const tensor<4>& x) {
            return x.view<float>().slice(1, begin, count);
          };
          scan_options options = p.options();
          options.initial_state = p.final.view<const float>();
          const auto rank3 = [](const tensor_view<float, 4>& v) {
            return tensor_view<float, 3>(v.data_handle(), {v.extent(0), v.extent(1), v.extent(2)},
                                         {v.stride(0), v.stride(1), v.stride(2)});
          };
          if (m == scanned::complex) {
            elementwise_scan(linear_gate(cut_of(p.a)), cut_of(p.b), cut_of(p.o), options);
          } else if (m == scanned::log) {
            elementwise_scan(rank3(cut_of(p.a)), rank3(cut_of(p.b)), rank3(cut_of(p.o)), options);
          } else if (m == scanned::linear) {
            elementwise_scan(linear_gate(rank3(cut_of(p.a))), rank3(cut_of(p.b)),
                             rank3(cut_of(p.o)), options);
          } else {
            elementwise_scan(rank3(cut_of(p.b)), rank3(cut_of(p.o)), options);
          }
        }
        CHECK(compare(results(p), expected, tolerance_of(scalar_type::f32)) == "");
      }
    }
  }
}

TEST_CASE("states of a pool: permuted, skipped, the others untouched", "[elementwise_scan]") {
  scan_case c{.monoid = scanned::linear, .B = 3, .T = 9, .D = 13, .initial = true, .final = true};
  scan_problem plain(c);
  run(elementwise_scan, plain, plain.options());
  scan_problem pooled(c);
  tensor<3> pool(scalar_type::f32, {5, 13, 1}, layout::padded);
  pool.fill(99);
  const tensor<3> before = pool;
  const std::int64_t slots[] = {4, -1, 1};
  for (const std::int64_t n : {0, 2}) {
    for (std::int64_t d = 0; d < 13; ++d) {
      pool.set({slots[n], d, 0}, plain.initial[{n, d, 0}]);
    }
  }
  scan_options options;
  options.initial_state = pool.view<const float>();
  options.final_state = pool.view<float>();
  options.initial_slots = seqmix::view(slots, 3);
  run(elementwise_scan, pooled, options);
  bool right = true;
  for (std::int64_t n = 0; n < 3; ++n) {
    for (std::int64_t d = 0; d < 13; ++d) {
      for (std::int64_t t = 0; t < 9; ++t) {
        right &= slots[n] < 0 ? pooled.o.untouched({n, t, d, 0})
                              : pooled.o.bits({n, t, d, 0}) == plain.o.bits({n, t, d, 0});
      }
      right &= slots[n] < 0 || pool.bits({slots[n], d, 0}) == plain.final.bits({n, d, 0});
    }
  }
  for (const std::int64_t other : {0, 2, 3}) {
    for (std::int64_t d = 0; d < 13; ++d) {
      right &= pool.bits({other, d, 0}) == before.bits({other, d, 0});
    }
  }
  CHECK(right);
  CHECK(pool.gaps_untouched());
}

TEST_CASE("maps run over two axes of time, in either order", "[elementwise_scan]") {
  constexpr std::int64_t B = 2, Y = 7, X = 19, D = 10;
  tensor<4> a(scalar_type::f32, {B, Y, X, D}, layout::padded), b = a, o = a;
  a.fill(1);
  b.fill(2);
  a.for_each([&](const tensor<4>::index& i) { a.set(i, std::tanh(a[i])); });
  for (const bool columns : {false, true}) {
    for (const bool reverse : {false, true}) {
      const scan_options options{.direction =
                                     reverse ? scan_direction::reverse : scan_direction::forward};
      o.clear();
      const auto place = [&](std::int64_t t) {
        return columns ? std::array<std::int64_t, 2>{t % Y, t / Y}
                       : std::array<std::int64_t, 2>{t / X, t % X};
      };
      std::vector<float> da, db;
      for (std::int64_t n = 0; n < B; ++n) {
        for (std::int64_t t = 0; t < Y * X; ++t) {
          for (std::int64_t d = 0; d < D; ++d) {
            const auto [y, x] = place(t);
            da.push_back(static_cast<float>(a[{n, y, x, d}]));
            db.push_back(static_cast<float>(b[{n, y, x, d}]));
          }
        }
      }
      std::vector<float> expected(da.size());
      elementwise_scan(linear_gate(seqmix::view(da.data(), B, Y * X, D)),
                       seqmix::view(db.data(), B, Y * X, D),
                       seqmix::view(expected.data(), B, Y * X, D), options);
      const auto va = a.view<float>(), vb = b.view<float>(), vo = o.view<float>();
      if (columns) {
        elementwise_scan(linear_gate(va.permuted<0, 2, 1, 3>()), vb.permuted<0, 2, 1, 3>(),
                         vo.permuted<0, 2, 1, 3>(), options);
      } else {
        elementwise_scan(linear_gate(va), vb, vo, options);
      }
      bool same = true;
      std::size_t k = 0;
      for (std::int64_t n = 0; n < B; ++n) {
        for (std::int64_t t = 0; t < Y * X; ++t) {
          for (std::int64_t d = 0; d < D; ++d) {
            const auto [y, x] = place(t);
            same &= static_cast<float>(o[{n, y, x, d}]) == expected[k++];
          }
        }
      }
      CHECK(same);
      CHECK(o.gaps_untouched());
    }
  }
}

TEST_CASE("offsets of scans have 64 bits", "[elementwise_scan]") {
  constexpr std::int64_t step = (std::int64_t{1} << 31) + 12345;
  sparse_memory memory(static_cast<std::size_t>(2 * step + 64) * sizeof(float));
  if (memory.data() == nullptr) {
    WARN("no sparse memory here");
    return;
  }
  const float half = 0.5f;
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t d = 0; d < 17; ++d) {
      memory.data()[t * step + d] = static_cast<float>(d + 1);
    }
  }
  const tensor_view<const float, 3> a(&half, {1, 3, 17}, {0, 0, 0});
  const tensor_view<float, 3> b(memory.data(), {1, 3, 17},
                                {std::int64_t{0}, step, std::int64_t{1}});
  std::vector<float> o(51);
  elementwise_scan(linear_gate(a), b, seqmix::view(o.data(), 1, 3, 17));
  CHECK(o[2 * 17 + 16] == 17 * 1.75f);
  const tensor_view<float, 3> far(memory.data() + 32, {1, 3, 17}, b.strides());
  elementwise_scan(linear_gate(a), b, far);
  CHECK(memory.data()[2 * step + 32 + 16] == 17 * 1.75f);
  // Complex numbers where they lie, and time that is contiguous, of channels far apart.
  const std::vector<float> turn{0, 1};
  const tensor_view<const float, 4> i(turn.data(), {1, 3, 8, 2}, {0, 0, 0, 1});
  const tensor_view<float, 4> pairs(memory.data(), {1, 3, 8, 2}, {0, step, 2, 1});
  const tensor_view<float, 4> far_pairs(memory.data() + 32, {1, 3, 8, 2}, pairs.strides());
  elementwise_scan(linear_gate(i), pairs, far_pairs, {.monoid = scan_monoid::affine_complex});
  CHECK(memory.data()[2 * step + 32 + 14] == -16.0f);
  CHECK(memory.data()[2 * step + 32 + 15] == 15.0f);
  const tensor_view<float, 3> over_time(memory.data(), {1, 16, 3}, {0, 1, step});
  const tensor_view<float, 3> far_time(memory.data() + 32, {1, 16, 3}, over_time.strides());
  elementwise_scan(over_time, far_time, {.monoid = scan_monoid::sum});
  CHECK(memory.data()[2 * step + 32 + 15] == 16 * 17 / 2.0f);
}

TEST_CASE("scans allocate nothing once warm, and keep to their workspace", "[elementwise_scan]") {
  for (const layout kind : {layout::dense, layout::head_first}) {
    scan_case c{.monoid = scanned::log, .B = 2, .T = 40, .D = 70, .a = kind};
    scan_problem p(c);
    const scan_options options = p.options();
    run(elementwise_scan, p, options);
    const long before = allocations;
    run(elementwise_scan, p, options);
    CHECK(allocations == before);
    const std::vector<std::uint64_t> bits = p.o.all_bits();
    std::size_t bytes = 0;
    scan_with<float, float, float>(
        [&](const auto&... x) { bytes = elementwise_scan.workspace_bytes(x...); }, p, options);
    guarded_workspace workspace(bytes, 8);
    p.o.clear();
    run(elementwise_scan, p, options, {.workspace = workspace.span()});
    CHECK(p.o.all_bits() == bits);
    CHECK(workspace.guards_untouched());
    std::string algorithm;
    scan_with<float, float, float>(
        [&](const auto&... x) { algorithm = elementwise_scan.explain(x...).algorithm; }, p,
        options);
    CHECK(algorithm == (kind == layout::dense ? "rows" : "blocks"));
  }
}

TEST_CASE("large outputs that pass the caches are the same", "[elementwise_scan][threads]") {
  constexpr std::int64_t T = 2100, D = 1040;
  tensor<3> x(scalar_type::f32, {1, T, D}), o(scalar_type::f32, {1, T, D});
  x.fill(3);
  const auto part = [&](const tensor<3>& of, std::int64_t d, std::int64_t n) {
    return of.view<float>().slice(2, d, n);
  };
  const scan_options options{.monoid = scan_monoid::sum};
  pool_executor pool(2);
  elementwise_scan(x.view<float>(), o.view<float>(), options, {.executor = pool});
  const std::vector<std::uint64_t> whole = o.all_bits();
  o.clear();
  for (std::int64_t d = 0; d < D; d += 65) {  // small, and off the lines of the caches
    elementwise_scan(part(x, d, 65), part(o, d, 65), options);
  }
  CHECK(o.all_bits() == whole);
}
