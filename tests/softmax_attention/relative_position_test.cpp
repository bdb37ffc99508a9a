// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/position_scores.hpp>
#include <seqmix/ops/softmax_attention/relative_position.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/functor_checks.hpp"
#include "support/pool.hpp"

// Published relative positions, against a dense bias written out from their papers' equations.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr algorithm algorithms[] = {algorithm::tiled, algorithm::split_kv, algorithm::naive};

template <std::size_t Rank>
tensor<Rank> filled(std::array<std::int64_t, Rank> extents, std::uint64_t seed,
                    scalar_type type = scalar_type::f32, layout kind = layout::dense) {
  tensor<Rank> t(type, extents, kind);
  t.fill(seed);
  return t;
}

/// The result of a dense bias given to the oracle, beside the problem's own options.
template <class F>
std::vector<double> with_dense_bias(const attention_problem& p, F&& value) {
  attention_problem dense = p;
  dense.c.bias = bias_shape::full;
  dense.c.relative = bias_shape::none;
  dense.bias = tensor<4>(scalar_type::f64, {p.c.B, p.c.H, p.c.T, p.c.S});
  dense.bias.for_each([&](const tensor<4>::index& i) { dense.bias.set(i, value(i)); });
  call<float>(dense, {.pin = pin_of(algorithm::naive)});
  return dense.o.values();
}

/// scale (q_i + v) . r_e from the definition.
double logit(const tensor<4>& q, const tensor<2>* v, const tensor<3>& r, double scale,
             std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t e) {
  double sum = 0;
  for (std::int64_t d = 0; d < q.extent(3); ++d) {
    const double query = q[{b, i, h, d}] + (v == nullptr ? 0 : (*v)[{h, d}]);
    sum += query * r[{e, r.extent(1) == 1 ? 0 : h, d}];
  }
  return scale * sum;
}

}  // namespace

TEST_CASE("logits of queries with embeddings of distances", "[relative_position][threads]") {
  for (const std::int64_t T : {1, 3, 4, 9}) {
    for (const std::int64_t D : {1, 7, 16, 70}) {
      for (const layout kind : {layout::dense, layout::strided, layout::reversed}) {
        for (const bool shared : {false, true}) {
          const tensor<4> q = filled<4>({2, T, 3, D}, 1, scalar_type::f32, kind);
          const tensor<3> r = filled<3>({11, shared ? 1 : 3, D}, 2, scalar_type::bf16, kind);
          const tensor<2> v = filled<2>({3, D}, 3, scalar_type::f16);
          tensor<4> out(scalar_type::f32, {2, 3, T, 11}, kind);
          seqmix::relative_position_logits(q.view<const float>(), r.view<const bf16>(),
                                           out.view<float>(), {.v = real_view(v)});
          std::vector<double> expected;
          out.for_each([&](const tensor<4>::index& i) {
            expected.push_back(
                logit(q, &v, r, 1 / std::sqrt(static_cast<double>(D)), i[0], i[1], i[2], i[3]));
          });
          CAPTURE(T, D, name(kind), shared);
          CHECK(compare(out.values(), expected, tolerance_of(scalar_type::f32), bound::target,
                        1.0) == "");
          CHECK(out.gaps_untouched());
          // Other executors and neighbours move no bits.
          tensor<4> again(scalar_type::f32, {1, 3, T, 11});
          pool_executor pool(3, 7);
          seqmix::relative_position_logits(q.view<float>().slice(0, 1, 1), r.view<bf16>(),
                                           again.view<float>(), {.v = real_view(v)},
                                           {.executor = pool});
          bool same = true;
          again.for_each([&](const tensor<4>::index& i) {
            same &= again.bits(i) == out.bits({1, i[1], i[2], i[3]});
          });
          CHECK(same);
        }
      }
    }
  }
  // In double, without v, with a scale; and with nothing to do.
  const tensor<4> q = filled<4>({1, 5, 2, 24}, 4, scalar_type::f64);
  const tensor<3> r = filled<3>({6, 2, 24}, 5, scalar_type::f64);
  tensor<4> out(scalar_type::f64, {1, 2, 5, 6});
  seqmix::relative_position_logits(q.view<double>(), r.view<double>(), out.view<double>(),
                                   {.scale = -0.75});
  double worst = 0;
  out.for_each([&](const tensor<4>::index& i) {
    const double expected = logit(q, nullptr, r, -0.75, i[0], i[1], i[2], i[3]);
    worst = std::max(worst, std::abs(out[i] - expected));
  });
  CHECK(worst < 1e-13);
  seqmix::relative_position_logits(q.view<double>().slice(1, 0, 0), r.view<double>(),
                                   out.view<double>().slice(2, 0, 0));
}

TEST_CASE("Transformer-XL is relative_bias of logits beside q + u", "[relative_position]") {
  // s_ij = scale ((q_i + u) . k_j + (q_i + v) . r_(i - j)), with 60 keys of memory before.
  for (const bool causal : {true, false}) {
    const std::int64_t T = 40, S = 100, H = 4, D = 16;
    const std::int64_t origin = causal ? 0 : T - 1;  // bidirectional: distances from -(T - 1) on
    const std::int64_t R = S + origin;
    attention_problem p(case_of(T, S));
    p.c.causal = causal;
    tensor<2> sines(scalar_type::f32, {R, D});
    seqmix::sinusoids(sines.view<float>(), origin);
    // Projected by W [H D, D].
    const tensor<2> W = filled<2>({H * D, D}, 21);
    tensor<3> r(scalar_type::f32, {R, H, D});
    r.for_each([&](const tensor<3>::index& i) {
      double sum = 0;
      for (std::int64_t d = 0; d < D; ++d) {
        sum += W[{i[1] * D + i[2], d}] * sines[{i[0], d}] / 4;
      }
      r.set(i, sum);
    });
    const tensor<2> u = filled<2>({H, D}, 22);
    const tensor<2> v = filled<2>({H, D}, 23);
    const tensor<4> q = p.q;
    seqmix::add_head_bias(q.view<float>(), u.view<float>(), p.q.view<float>());
    p.relative = tensor<4>(scalar_type::f32, {2, H, T, R});
    seqmix::relative_position_logits(q.view<float>(), r.view<float>(), p.relative.view<float>(),
                                     {.v = v.view<float>()});
    p.origin = origin;
    const std::vector<double> expected = with_dense_bias(p, [&](const tensor<4>::index& i) {
      const std::int64_t distance = i[2] + S - T - i[3];
      return causal && distance < 0 ? 0
                                    : logit(q, &v, r, 0.25, i[0], i[1], i[2], distance + origin);
    });
    p.c.relative = bias_shape::full;
    for (const algorithm how : algorithms) {
      call<float>(p, {.pin = pin_of(how)});
      CAPTURE(name(how), causal);
      CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("sinusoids of distances", "[relative_position]") {
  tensor<2> r(scalar_type::f64, {9, 6}, layout::strided);
  seqmix::sinusoids(r.view<double>(), 4, 100);
  double worst = 0;
  r.for_each([&](const tensor<2>::index& i) {
    const double angle =
        static_cast<double>(i[0] - 4) * std::pow(100, -static_cast<double>(i[1] % 3) / 3);
    worst = std::max(worst, std::abs(r[i] - (i[1] < 3 ? std::sin(angle) : std::cos(angle))));
  });
  CHECK(worst < 1e-15);
  CHECK(r[{4, 0}] == 0);
  CHECK(r[{4, 5}] == 1);
  CHECK(r.gaps_untouched());
}

TEST_CASE("log-spaced position bias on a grid", "[relative_position]") {
  const std::int64_t rows = 4, columns = 5, H = 4, M = 9, before = 3;
  const tensor<2> hidden = filled<2>({M, 2}, 31, scalar_type::f32, layout::reversed);
  const tensor<1> shift = filled<1>({M}, 32, scalar_type::f64);
  const tensor<2> head = filled<2>({H, M}, 33, scalar_type::bf16);
  tensor<3> table(scalar_type::f32, {H, 2 * rows - 1, 2 * columns - 1}, layout::strided);
  seqmix::log_cpb_table(
      {.hidden = real_view(hidden), .hidden_bias = real_view(shift), .head = real_view(head)},
      table.view<float>(), 8.0 / 3, 2);
  CHECK(table.gaps_untouched());
  const auto expected = [&](std::int64_t h, std::int64_t dy, std::int64_t dx) {
    const auto f = [](double d) {
      return (d > 0 ? 1 : d < 0 ? -1 : 0) * std::log(1 + std::abs(d));
    };
    double sum = 0;
    for (std::int64_t m = 0; m < M; ++m) {
      sum += head[{h, m}] *
             std::max(0.0, hidden[{m, 0}] * f(8.0 / 3 * static_cast<double>(dy)) +
                               hidden[{m, 1}] * f(2.0 * static_cast<double>(dx)) + shift[{m}]);
    }
    return sum;
  };
  double worst = 0;
  table.for_each([&](const tensor<3>::index& i) {
    worst =
        std::max(worst, std::abs(table[i] - expected(i[0], i[1] - rows + 1, i[2] - columns + 1)));
  });
  CHECK(worst < 1e-5);

  // The grid lies between 3 class tokens and 4 of text; decode steps see the same places.
  const std::int64_t S = before + rows * columns + 4;
  for (const std::int64_t T : {S, std::int64_t{6}}) {
    attention_problem p(case_of(T, S));
    const std::vector<double> o = with_dense_bias(p, [&](const tensor<4>::index& i) {
      const std::int64_t q = i[2] + S - T - before;
      const std::int64_t k = i[3] - before;
      const bool inside = std::min(q, k) >= 0 && std::max(q, k) < rows * columns;
      return inside ? expected(i[1], q / columns - k / columns, q % columns - k % columns) : 0.0;
    });
    for (const algorithm how : algorithms) {
      call<float>(p, {.pin = pin_of(how)}, seqmix::grid_bias_score(table.view<float>(), before));
      CAPTURE(name(how), T);
      CHECK(compare(p.o.values(), o, tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("a table for every head of a grid", "[relative_position]") {
  const tensor<3> table = filled<3>({1, 5, 7}, 41);
  attention_problem p(case_of(12, 12));
  const std::vector<double> expected = with_dense_bias(p, [&](const tensor<4>::index& i) {
    return table[{0, i[2] / 4 - i[3] / 4 + 2, i[2] % 4 - i[3] % 4 + 3}];
  });
  call<float>(p, {}, seqmix::grid_bias_score(table.view<const float>()));
  CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("HaloNet: q.r by rows and columns on split channels", "[relative_position]") {
  // Blocks of 3 x 3 queries with a halo of 2: 7 x 7 keys. One sequence for each block.
  const std::int64_t b = 3, w = 2, n = b + 2 * w, R = 2 * b + 2 * w - 1, half = 8;
  attention_problem p(case_of(b * b, n * n));
  const tensor<3> rows = filled<3>({R, 1, half}, 51);
  const tensor<3> columns = filled<3>({R, 1, half}, 52);
  tensor<4> of_rows(scalar_type::f32, {2, 4, b * b, R});
  tensor<4> of_columns(scalar_type::f32, {2, 4, b * b, R}, layout::strided);
  const auto q = p.q.view<float>();
  seqmix::relative_position_logits(q.slice(3, 0, half), rows.view<float>(), of_rows.view<float>(),
                                   {.scale = 0.25});
  seqmix::relative_position_logits(q.slice(3, half, half), columns.view<float>(),
                                   of_columns.view<float>(), {.scale = 0.25});
  const std::vector<double> expected = with_dense_bias(p, [&](const tensor<4>::index& i) {
    // Offsets on the image: the neighbourhood begins w before the block.
    const std::int64_t dy = i[3] / n - w - i[2] / b;
    const std::int64_t dx = i[3] % n - w - i[2] % b;
    double sum = 0;
    for (std::int64_t d = 0; d < half; ++d) {
      sum += p.q[{i[0], i[2], i[1], d}] * rows[{dy + b + w - 1, 0, d}] +
             p.q[{i[0], i[2], i[1], half + d}] * columns[{dx + b + w - 1, 0, d}];
    }
    return 0.25 * sum;
  });
  const seqmix::grid_logits_score score(
      of_rows.view<float>(), of_columns.view<float>(),
      {.query_columns = b, .key_columns = n, .row_origin = b - 1, .column_origin = b - 1});
  for (const algorithm how : algorithms) {
    call<float>(p, {.pin = pin_of(how)}, score);
    CAPTURE(name(how));
    CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
  }
}

TEST_CASE("a table sampled at real-valued offsets", "[relative_position]") {
  const std::int64_t T = 10, S = 33;
  attention_problem p(case_of(T, S));
  const tensor<3> table = filled<3>({4, 5, 8}, 61);
  tensor<3> query = filled<3>({2, T, 2}, 62, scalar_type::f32, layout::strided);
  tensor<3> key = filled<3>({1, S, 2}, 63);
  query.for_each([&](const tensor<3>::index& i) { query.set(i, 2 * query[i]); });
  key.set({0, 7, 0}, query[{1, 3, 0}]);  // an offset of exactly zero
  key.set({0, 8, 1}, 1000);              // far beyond the table
  const std::vector<double> expected = with_dense_bias(p, [&](const tensor<4>::index& i) {
    const double y = std::clamp(query[{i[0], i[2], 0}] - key[{0, i[3], 0}] + 2.0, 0.0, 4.0);
    const double x = std::clamp(query[{i[0], i[2], 1}] - key[{0, i[3], 1}] + 3.5, 0.0, 7.0);
    // The definition of bilinear interpolation: a tent around every entry.
    double sum = 0;
    for (std::int64_t a = 0; a < 5; ++a) {
      for (std::int64_t c = 0; c < 8; ++c) {
        sum += table[{i[1], a, c}] * std::max(0.0, 1 - std::abs(y - static_cast<double>(a))) *
               std::max(0.0, 1 - std::abs(x - static_cast<double>(c)));
      }
    }
    return sum;
  });
  for (const algorithm how : algorithms) {
    call<float>(
        p, {.pin = pin_of(how)},
        seqmix::location_bias_score(table.view<float>(), query.view<float>(), key.view<float>()));
    CAPTURE(name(how));
    CHECK(compare(p.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
  }

  // NaN reaches the rows that see it, infinities of entries the offsets between their neighbours.
  p.c.causal = true;
  const auto run_with = [&](const tensor<3>& entries) {
    call<float>(
        p, {},
        seqmix::location_bias_score(entries.view<float>(), query.view<float>(), key.view<float>()));
  };
  run_with(table);
  const attention_problem clean = p;
  key.set({0, 30, 1}, not_a_number);
  run_with(table);
  bool right = true;
  p.o.for_each([&](const tensor<4>::index& i) {
    right &= i[1] + S - T >= 30 ? std::isnan(p.o[i]) : p.o.bits(i) == clean.o.bits(i);
  });
  CHECK(right);
  const float single[] = {3, 5};
  const float places[] = {1, 0, 0};
  const seqmix::location_bias_score one(
      seqmix::view(single, 2, 1, 1), seqmix::view(places, 1, 1, 2), seqmix::view(places, 1, 1, 2));
  CHECK(one(1.0f, {0, 1, 0, 0, 1, 1}) == 6.0f);
  const float column[] = {0, std::numeric_limits<float>::infinity(), 2};
  const seqmix::location_bias_score at_entry(seqmix::view(column, 1, 3, 1),
                                             seqmix::view(places, 1, 1, 2),
                                             seqmix::view(places + 1, 1, 1, 2));
  // An offset of one is the last entry: the infinite one before it has no weight.
  CHECK(at_entry(1.0f, {0, 0, 0, 0, 1, 1}) == 3.0f);
}

TEST_CASE("wrong tensors are refused", "[relative_position][errors]") {
  std::vector<float> in(4000, 0.5f);
  std::vector<float> out(4000, -7);
  const auto q = seqmix::view(in.data(), 2, 3, 4, 6);
  const auto r = seqmix::view(in.data() + 500, 5, 4, 6);
  const auto o = seqmix::view(out.data(), 2, 4, 3, 5);
  const auto refusal = [&](const char* who, auto&& f) {
    const seqmix::error e = error_of(f);
    CHECK(e.operator_name() == who);
    CHECK(out == std::vector<float>(out.size(), -7));
    CHECK(in == std::vector<float>(in.size(), 0.5f));
    return e.argument() + ": " + e.expected() + ", " + e.actual();
  };
  const auto logits = [&](auto&&... a) {
    return refusal("relative_position_logits", [&] { seqmix::relative_position_logits(a...); });
  };
  using options = seqmix::relative_position_options;
  CHECK(logits(q, seqmix::view(in.data(), 5, 3, 6), o) ==
        "r: [R, H or 1, D] = [5, 4, 6], [5, 3, 6]");
  CHECK(logits(q, r, seqmix::view(out.data(), 2, 4, 3, 6)) ==
        "out: [B, H, T, R] = [2, 4, 3, 5], [2, 4, 3, 6]");
  CHECK(logits(seqmix::view(in.data(), 1, 1, 1, 1025), r, o) == "q.extent(D): 1 to 1024, 1025");
  CHECK(logits(q, r, o, options{.scale = not_a_number}) == "options.scale: a finite number, nan");
  CHECK(logits(q, r, o, options{.v = seqmix::view(in.data(), 4, 5)}) ==
        "options.v: [H, D] = [4, 6], [4, 5]");
  CHECK(logits(q, r, seqmix::view(in.data(), 2, 4, 3, 5)) ==
        "out: memory apart from q's, overlapping memory");
  CHECK(logits(q, r, o, options{.v = seqmix::view(out.data(), 4, 6)}) ==
        "out: memory apart from options.v's, overlapping memory");
  const seqmix::device gpu{seqmix::device_kind::cuda, 0};
  CHECK(logits(seqmix::tensor_view<float, 4>(in.data(), {2, 3, 4, 6}, gpu), r, o) ==
        "q: host memory, memory of cuda:0");

  const auto sum = [&](auto&&... a) {
    return refusal("add_head_bias", [&] { seqmix::add_head_bias(a...); });
  };
  CHECK(sum(q, seqmix::view(in.data(), 4, 5), seqmix::view(out.data(), 2, 3, 4, 6)) ==
        "u: [H, D] = [4, 6], [4, 5]");
  CHECK(sum(q, seqmix::view(in.data(), 4, 6), seqmix::view(out.data(), 2, 3, 4, 5)) ==
        "o: [B, T, H, D] = [2, 3, 4, 6], [2, 3, 4, 5]");
  CHECK(sum(q, seqmix::view(in.data(), 4, 6), q) == "o: memory apart from q's, overlapping memory");

  const auto sines = [&](auto&&... a) {
    return refusal("sinusoids", [&] { seqmix::sinusoids(a...); });
  };
  CHECK(sines(seqmix::view(out.data(), 4, 5)) == "r.extent(D): an even number, 5");
  CHECK(sines(seqmix::view(out.data(), 4, 6), 0, -1.0).substr(0, 4) == "base");

  const seqmix::log_cpb_weights weights{.hidden = seqmix::view(in.data(), 9, 2),
                                        .hidden_bias = seqmix::view(in.data(), 9),
                                        .head = seqmix::view(in.data(), 4, 9)};
  const auto cpb = [&](auto&&... a) {
    return refusal("log_cpb_table", [&] { seqmix::log_cpb_table(a...); });
  };
  CHECK(cpb(weights, seqmix::view(out.data(), 4, 6, 7)) == "table.extent(rows): an odd number, 6");
  CHECK(cpb(weights, seqmix::view(out.data(), 4, 7, 6)) ==
        "table.extent(columns): an odd number, 6");
  CHECK(cpb(weights, seqmix::view(out.data(), 3, 7, 7)) == "weights.head: [H, M] = [3, 9], [4, 9]");
  CHECK(cpb(weights, seqmix::view(out.data(), 4, 7, 7), -1.0).substr(0, 9) == "row_scale");
}
