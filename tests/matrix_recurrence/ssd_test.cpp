// SPDX-License-Identifier: Apache-2.0
// What ssd and hydra have beyond the other operators with a matrix state: steps, skips, gates and
// both directions. The rest of their contract is tested with the others'.
#include <cmath>
#include <limits>
#include <seqmix/common/bidirectional.hpp>
#include <seqmix/ops/hydra/hydra.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/pairwise.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;
using seqmix::bf16;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Inputs of both operators: B sequences, or packed ones of different lengths.
struct ssm {
  std::int64_t B, T, G, H, N, P;
  bool packed = false;
  scalar_type type = scalar_type::f32;
  layout kind = layout::dense;
  std::uint64_t seed = 1;

  std::vector<std::int64_t> starts{0};
  tensor<4> x{}, z{}, b{}, c{}, b_back{}, c_back{}, o{}, dt{}, dt_back{}, skip{};
  tensor<1> rate{}, bias{}, bias_back{}, head_skip{}, offsets{};
  tensor<2> value_skip{};

  void make() {
    for (std::int64_t n = 0; n < B; ++n) {
      starts.push_back(starts.back() + (n == 1 ? 0 : n == 2 ? 1 : T));
    }
    const std::int64_t batch = packed ? 1 : B;
    const std::int64_t rows = packed ? starts.back() : T;
    const auto fill = [&](tensor<4>& t, std::int64_t heads, std::int64_t last, double scale) {
      t = tensor<4>(type, {batch, rows, heads, last}, kind);
      t.fill(++seed, scale);
    };
    fill(x, H, P, 1);
    fill(z, H, P, 1);
    for (tensor<4>* t : {&b, &c, &b_back, &c_back}) {
      fill(*t, G, N, 1 / std::sqrt(static_cast<double>(N)));
    }
    for (tensor<4>* t : {&dt, &dt_back, &skip}) {
      fill(*t, H, 1, 1);
    }
    o = tensor<4>(type, {batch, rows, H, P}, kind == layout::broadcast ? layout::dense : kind);
    for (tensor<1>* t : {&rate, &bias, &bias_back, &head_skip}) {
      *t = tensor<1>(scalar_type::f32, {H});
      t->fill(++seed);
    }
    for (std::int64_t h = 0; h < H; ++h) {
      rate.set({h}, -0.3 - 0.2 * static_cast<double>(h));
    }
    value_skip = tensor<2>(scalar_type::f32, {H, P});
    value_skip.fill(++seed);
    offsets = index_tensor(starts, true);
  }

  template <class T2, class F>
  void with_views(const tensor<4>& out, F&& f) const {
    if (packed) {
      f([](const tensor<4>& t) { return t.packed_view<const T2>(); }, out.packed_view<T2>());
    } else {
      f([](const tensor<4>& t) { return t.view<const T2>(); }, out.view<T2>());
    }
  }
};

struct chosen {
  bool softplus = true, bias = true, limits = false, gate = true, accumulate = false;
  int skip = 1;  // none, for each head, for each value
};

template <class T>
void run_ssd(const ssm& m, const chosen& which, const tensor<4>& out, bool naive,
             const seqmix::context& ctx = {}) {
  m.with_views<T>(out, [&](const auto& in, const auto& o) {
    seqmix::ssd_options options{.dt_softplus = which.softplus, .accumulate = which.accumulate};
    if (which.skip == 1) {
      options.D = m.head_skip.view<const float>();
    } else if (which.skip == 2) {
      options.D = m.value_skip.view<const float>();
    }
    if (which.gate) {
      options.z = in(m.z);
    }
    if (which.bias) {
      options.dt_bias = m.bias.view<const float>();
    }
    if (which.limits) {
      options.dt_least = 0.2;
      options.dt_most = 1.1;
    }
    if (!which.softplus && !which.limits) {
      options.dt_least = -infinity;
    }
    if (m.packed) {
      options.varlen.offsets = index_view(m.offsets);
    }
    const auto rate = m.rate.view<const float>();
    if (naive) {
      seqmix::naive_ssd(in(m.x), without_last(in(m.dt)), rate, in(m.b), in(m.c), o, options);
    } else {
      seqmix::ssd(in(m.x), without_last(in(m.dt)), rate, in(m.b), in(m.c), o, options, ctx);
    }
  });
}

template <class T>
void run_hydra(const ssm& m, int skip, const tensor<4>& out, bool naive,
               const seqmix::context& ctx = {}) {
  m.with_views<T>(out, [&](const auto& in, const auto& o) {
    seqmix::hydra_options options{.dt_bias = m.bias.view<const float>(),
                                  .dt_bias_back = m.bias_back.view<const float>(),
                                  .dt_softplus = true};
    if (skip > 0) {
      options.D = skip == 1 ? seqmix::head_parameter(m.head_skip.view<const float>())
                            : seqmix::head_parameter(m.value_skip.view<const float>());
      options.D_token = without_last(in(m.skip));
    }
    if (m.packed) {
      options.varlen.offsets = index_view(m.offsets);
    }
    const auto rate = m.rate.view<const float>();
    const auto all = [&](const auto& op, const auto&... more) {
      op(in(m.x), without_last(in(m.dt)), rate, in(m.b), in(m.c), without_last(in(m.dt_back)),
         in(m.b_back), in(m.c_back), o, options, more...);
    };
    naive ? all(seqmix::naive_hydra) : all(seqmix::hydra, ctx);
  });
}

double silu(double z) { return z / (1 + std::exp(-z)); }
double softplus(double x) { return x > 40 ? x : std::log1p(std::exp(x)); }

/// The quasi-separable matrix itself, row by row.
std::vector<double> dense_hydra(const ssm& m, int skip) {
  std::vector<double> all;
  for (std::int64_t n = 0; n < m.B; ++n) {
    const std::int64_t batch = m.packed ? 0 : n;
    const auto at = static_cast<std::size_t>(n);
    const std::int64_t begin = m.packed ? m.starts[at] : 0;
    const std::int64_t tokens = m.packed ? m.starts[at + 1] - begin : m.T;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t h = 0; h < m.H; ++h) {
        const std::int64_t g = h / (m.H / m.G);
        std::vector<double> row(static_cast<std::size_t>(m.P), 0.0);
        // Rows below the diagonal read with C_(t-1), those above with C_(t+1) of the other way.
        for (std::int64_t j = 0; j < tokens; ++j) {
          double weight = 0;
          if (j == t) {
            weight = skip > 0 ? m.skip[{batch, begin + t, h, 0}] : 0;
          } else {
            const bool back = j > t;
            const tensor<4>& c = back ? m.c_back : m.c;
            const tensor<4>& b = back ? m.b_back : m.b;
            const std::int64_t reader = back ? t + 1 : t - 1;
            const auto step = [&](std::int64_t i) {
              const tensor<4>& dt = back ? m.dt_back : m.dt;
              return softplus(dt[{batch, begin + i, h, 0}] + (back ? m.bias_back : m.bias)[{h}]);
            };
            double log_decay = 0;
            for (std::int64_t i = j; i != reader; i += back ? -1 : 1) {
              log_decay += m.rate[{h}] * step(back ? i - 1 : i + 1);
            }
            for (std::int64_t d = 0; d < m.N; ++d) {
              weight += c[{batch, begin + reader, g, d}] * b[{batch, begin + j, g, d}];
            }
            weight *= std::exp(log_decay) * step(j);
          }
          for (std::int64_t i = 0; i < m.P; ++i) {
            const double own = j != t || skip == 0 ? 0
                               : skip == 1         ? m.head_skip[{h}]
                                                   : m.value_skip[{h, i}];
            row[static_cast<std::size_t>(i)] += (weight + own) * m.x[{batch, begin + j, h, i}];
          }
        }
        all.insert(all.end(), row.begin(), row.end());
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("ssd equals the quadratic form with its decays, skip and gate", "[ssd]") {
  ssm m{.B = 2, .T = 37, .G = 2, .H = 4, .N = 12, .P = 20};
  m.make();
  const chosen which;
  run_ssd<float>(m, which, m.o, false);
  std::vector<double> expected;
  m.o.for_each([&](const tensor<4>::index& i) {
    const auto [batch, t, h, p] = i;
    double y = m.head_skip[{h}] * m.x[i];
    for (std::int64_t j = 0; j <= t; ++j) {
      const auto step = [&, n = batch, head = h](std::int64_t at) {
        return softplus(m.dt[{n, at, head, 0}] + m.bias[{head}]);
      };
      double log_decay = 0;
      for (std::int64_t between = j + 1; between <= t; ++between) {
        log_decay += m.rate[{h}] * step(between);
      }
      double dot = 0;
      for (std::int64_t d = 0; d < m.N; ++d) {
        dot += m.c[{batch, t, h / 2, d}] * m.b[{batch, j, h / 2, d}];
      }
      y += dot * std::exp(log_decay) * step(j) * m.x[{batch, j, h, p}];
    }
    expected.push_back(y * silu(m.z[i]));
  });
  CHECK(compare(m.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("ssd against its oracle: steps, limits, skips, gates, types and layouts",
          "[ssd][threads]") {
  constexpr std::int64_t lengths[] = {0, 1, 2, 31, 33, 80};
  constexpr std::int64_t dims[][2] = {{1, 1}, {16, 64}, {64, 80}, {128, 96}, {7, 130}};
  constexpr layout kinds[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::broadcast};
  int cases = 0;
  for (const std::vector<int>& row : pairwise_plan({6, 5, 6, 2, 2, 2, 2, 2, 2, 3, 3, 2}, 11)) {
    std::size_t f = 0;
    const auto level = [&] { return static_cast<std::size_t>(row[f++]); };
    ssm m{.B = 3, .T = lengths[level()], .G = 2, .H = 4, .N = 0, .P = 0};
    const std::int64_t(&dim)[2] = dims[level()];
    m.N = dim[0];
    m.P = dim[1];
    m.kind = kinds[level()];
    m.packed = level() == 1;
    chosen which;
    which.softplus = level() == 1;
    which.bias = level() == 1;
    which.limits = level() == 1;
    which.gate = level() == 1;
    which.accumulate = level() == 1;
    which.skip = static_cast<int>(level());
    const std::size_t type = level();
    pool_executor pool(level() == 1 ? 3 : 1, 3);
    m.type = type == 0 ? scalar_type::f32 : type == 1 ? scalar_type::f64 : scalar_type::bf16;
    m.seed = static_cast<std::uint64_t>(1000 * ++cases);
    m.make();
    m.o.fill(5);
    tensor<4> expected = m.o;
    const seqmix::context ctx{.executor = pool};
    if (type == 0) {
      run_ssd<float>(m, which, m.o, false, ctx);
      run_ssd<float>(m, which, expected, true);
    } else if (type == 1) {
      run_ssd<double>(m, which, m.o, false, ctx);
      run_ssd<double>(m, which, expected, true);
    } else {
      run_ssd<bf16>(m, which, m.o, false, ctx);
      run_ssd<bf16>(m, which, expected, true);
    }
    CAPTURE(m.T, m.N, m.P, m.packed, name(m.kind), name(m.type), which.softplus, which.bias,
            which.limits, which.gate, which.accumulate, which.skip);
    CHECK(compare(m.o.values(), expected.values(), tolerance_of(m.type), bound::ceiling, 0.05) ==
          "");
    CHECK(m.o.gaps_untouched());
  }
  CHECK(cases >= 36);
}

TEST_CASE("steps tiny and huge", "[ssd]") {
  for (const double step : {-1000.0, -30.0, -1e-30, 0.0, 1e-30, 19.9, 20.1, 88.0, 1e4}) {
    for (const double rate : {0.0, -1e-6, -1.0, -1e4}) {
      ssm m{.B = 1, .T = 40, .G = 1, .H = 2, .N = 16, .P = 24};
      m.make();
      m.dt.for_each([&](const tensor<4>::index& i) { m.dt.set(i, step); });
      for (std::int64_t h = 0; h < 2; ++h) {
        m.rate.set({h}, rate);
      }
      tensor<4> expected = m.o;
      const chosen which{.bias = false};
      run_ssd<float>(m, which, m.o, false);
      run_ssd<float>(m, which, expected, true);
      CAPTURE(step, rate);
      CHECK(compare(m.o.values(), expected.values(), tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("hydra equals its dense quasi-separable matrix", "[hydra][threads]") {
  for (const bool packed : {false, true}) {
    for (const std::int64_t T : {0, 1, 2, 3, 40, 70}) {
      for (const int skip : {0, 1, 2}) {
        ssm m{.B = 4, .T = T, .G = 2, .H = 4, .N = 9, .P = 20, .packed = packed};
        m.make();
        const std::vector<double> expected = dense_hydra(m, skip);
        CAPTURE(packed, T, skip);
        run_hydra<float>(m, skip, m.o, true);
        CHECK(compare(m.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
        run_hydra<float>(m, skip, m.o, false);
        const std::vector<std::uint64_t> bits = m.o.all_bits();
        CHECK(compare(m.o.values(), expected, tolerance_of(scalar_type::f32)) == "");
        pool_executor pool(3, 2);
        run_hydra<float>(m, skip, m.o, false, {.executor = pool});
        CHECK(m.o.all_bits() == bits);
      }
    }
  }
}

TEST_CASE("hydra in other types and layouts", "[hydra]") {
  for (const layout kind : {layout::padded, layout::strided, layout::reversed}) {
    for (const scalar_type type : {scalar_type::f64, scalar_type::bf16}) {
      ssm m{.B = 2, .T = 50, .G = 1, .H = 2, .N = 16, .P = 10, .type = type, .kind = kind};
      m.make();
      const std::vector<double> expected = dense_hydra(m, 2);
      if (type == scalar_type::f64) {
        run_hydra<double>(m, 2, m.o, false);
      } else {
        run_hydra<bf16>(m, 2, m.o, false);
      }
      CAPTURE(name(kind), name(type));
      CHECK(compare(m.o.values(), expected, tolerance_of(type), bound::ceiling) == "");
      CHECK(m.o.gaps_untouched());
    }
  }
}

TEST_CASE("what is no number stays on its side of a row", "[hydra]") {
  ssm m{.B = 1, .T = 30, .G = 1, .H = 1, .N = 8, .P = 8};
  m.make();
  run_hydra<float>(m, 1, m.o, false);
  const tensor<4> clean = m.o;
  // The way back reaches the rows before it through the state, the other those behind it.
  m.b_back.set({0, 12, 0, 3}, std::numeric_limits<double>::quiet_NaN());
  run_hydra<float>(m, 1, m.o, false);
  bool right = true;
  m.o.for_each([&](const tensor<4>::index& i) {
    right &= i[1] < 12 ? std::isnan(m.o[i]) : m.o.bits(i) == clean.bits(i);
  });
  CHECK(right);
}

TEST_CASE("both directions of any recurrence are the sum of the two", "[matrix_recurrence]") {
  recurrence_case c{.op = recurrence::gla, .B = 2, .T = 45, .H = 2, .HV = 2, .K = 16, .V = 24};
  recurrence_problem p(c);
  const auto in = [](const tensor<4>& t) { return t.view<const float>(); };
  const seqmix::recurrence_options options;
  const auto one_way = [&](seqmix::scan_direction direction) {
    seqmix::recurrence_options x = options;
    x.direction = direction;
    seqmix::gated_linear_attention(in(p.q), in(p.k), in(p.v), in(p.gate), p.o.view<float>(), x);
    return p.o.values();
  };
  std::vector<double> expected = one_way(seqmix::scan_direction::forward);
  const std::vector<double> back = one_way(seqmix::scan_direction::reverse);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] =
        static_cast<double>(static_cast<float>(expected[i]) + static_cast<float>(back[i]));
  }
  const seqmix::bidirectional both(seqmix::gated_linear_attention);
  both(in(p.q), in(p.k), in(p.v), in(p.gate), p.o.view<float>(), options);
  CHECK(p.o.values() == expected);

  p.o.clear();
  seqmix::recurrence_options with_state;
  with_state.final_state = p.final.view<float>();
  const seqmix::error e =
      error_of([&] { both(in(p.q), in(p.k), in(p.v), in(p.gate), p.o.view<float>(), with_state); });
  CHECK(e.operator_name() == "bidirectional");
  CHECK(e.argument() == "options.final_state");
  bool untouched = true;
  p.o.for_each([&](const tensor<4>::index& i) { untouched &= p.o.untouched(i); });
  CHECK(untouched);
}

TEST_CASE("the gate of both directions is applied to their sum", "[ssd]") {
  ssm m{.B = 2, .T = 33, .G = 1, .H = 2, .N = 8, .P = 12};
  m.make();
  const auto in = [](const tensor<4>& t) { return t.view<const float>(); };
  const auto run = [&](const auto& op, seqmix::ssd_options options) {
    options.dt_softplus = true;
    op(in(m.x), without_last(in(m.dt)), m.rate.view<const float>(), in(m.b), in(m.c),
       m.o.view<float>(), options);
    return m.o.values();
  };
  std::vector<double> expected = run(seqmix::ssd, {});
  const std::vector<double> back = run(seqmix::ssd, {.direction = seqmix::scan_direction::reverse});
  std::size_t at = 0;
  m.z.for_each([&](const tensor<4>::index& i) {
    expected[at] = (expected[at] + back[at]) * silu(m.z[i]);
    ++at;
  });
  CHECK(compare(run(seqmix::bidirectional(seqmix::ssd), {.z = in(m.z)}), expected,
                tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("ssd and hydra refuse what they cannot run", "[ssd][hydra][errors]") {
  const auto refusal = [](auto&& break_it, bool both_ways) {
    ssm m{.B = 2, .T = 4, .G = 2, .H = 4, .N = 8, .P = 6};
    m.make();
    m.o.clear();
    break_it(m);
    const seqmix::error e = error_of([&] {
      both_ways ? run_hydra<float>(m, 2, m.o, false) : run_ssd<float>(m, {.skip = 2}, m.o, false);
    });
    bool untouched = true;
    m.o.for_each([&](const tensor<4>::index& i) { untouched &= m.o.untouched(i); });
    CHECK(untouched);
    CHECK(e.operator_name() == (both_ways ? "hydra" : "ssd"));
    return e.argument();
  };
  const auto wrong_heads = [](ssm& m) { m.rate = tensor<1>(scalar_type::f32, {3}); };
  CHECK(refusal(wrong_heads, false) == "A");
  CHECK(refusal(wrong_heads, true) == "A");
  const auto wrong_skip = [](ssm& m) { m.value_skip = tensor<2>(scalar_type::f32, {4, 5}); };
  CHECK(refusal(wrong_skip, false) == "options.D");
  CHECK(refusal(wrong_skip, true) == "options.D");
  const auto wrong_step = [](ssm& m) { m.dt = tensor<4>(scalar_type::f32, {2, 4, 3, 1}); };
  CHECK(refusal(wrong_step, false) == "dt");
  CHECK(refusal([](ssm& m) { m.dt_back = tensor<4>(scalar_type::f32, {2, 3, 4, 1}); }, true) ==
        "dt_back");
  CHECK(refusal([](ssm& m) { m.b_back = tensor<4>(scalar_type::f32, {2, 4, 2, 7}); }, true) ==
        "B_back");
  CHECK(refusal([](ssm& m) { m.b = m.c = tensor<4>(scalar_type::f32, {2, 4, 3, 8}); }, false) ==
        "x.extent(H)");
  CHECK(refusal([](ssm& m) { m.z = tensor<4>(scalar_type::f32, {2, 4, 4, 5}); }, false) ==
        "options.z");
  CHECK(refusal([](ssm& m) { m.skip = tensor<4>(scalar_type::f32, {2, 4, 2, 1}); }, true) ==
        "options.D_token");
  CHECK(refusal([](ssm& m) { m.bias = tensor<1>(scalar_type::f32, {5}); }, false) ==
        "options.dt_bias");
  ssm m{.B = 1, .T = 2, .G = 1, .H = 1, .N = 4, .P = 4};
  m.make();
  const seqmix::error e = error_of([&] {
    seqmix::ssd(m.x.view<const float>(), without_last(m.dt.view<const float>()),
                m.rate.view<const float>(), m.b.view<const float>(), m.c.view<const float>(),
                m.o.view<float>(), {.dt_least = 2, .dt_most = 1});
  });
  CHECK(e.argument() == "options.dt_least");
}
