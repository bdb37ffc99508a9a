// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <limits>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/conv_problem.hpp"
#include "support/counted_new.hpp"
#include "support/pairwise.hpp"
#include "support/pool.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;
using seqmix::conv_activation;

namespace {

constexpr scalar_type real_types[] = {scalar_type::f32, scalar_type::f64, scalar_type::f16,
                                      scalar_type::bf16};

/// T tokens cut into sequences, empty ones among them, and a last token that belongs to none.
std::vector<std::int64_t> cuts_of(std::int64_t T) {
  const std::int64_t end = T > 3 ? T - 1 : T;
  std::vector<std::int64_t> cuts{0, 0};
  for (std::int64_t at = 1, step = 2; at < end; at += step, step = step * 3 % 101) {
    cuts.push_back(at);
    if (step % 2 == 1) {
      cuts.push_back(at);
    }
  }
  cuts.push_back(end);
  return cuts;
}

}  // namespace

TEST_CASE("causal_conv1d agrees with its definition", "[causal_conv1d]") {
  constexpr std::int64_t tokens[] = {0, 1, 2, 3, 5, 16, 31, 63, 64, 65, 75, 127, 200};
  constexpr std::int64_t channels[] = {1, 3, 8, 17, 60, 128, 131, 300};
  constexpr std::int64_t taps[] = {1, 2, 3, 4, 5, 7, 8, 16, 64};
  constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                                layout::head_first, layout::reversed, layout::misaligned};
  const test_plan plan =
      pairwise_plan({13, 8, 9, 4, 4, 2, 4, 4, 4, 8, 6, 2, 2, 4, 2, 2, 2, 7, 2}, 3);
  std::printf("causal_conv1d: %zu cases\n", plan.size());
  for (const auto& r : plan) {
    conv_case c;
    c.T = tokens[r[0]];
    c.D = channels[r[1]];
    c.W = taps[r[2]];
    c.x_type = real_types[r[3]];
    c.y_type = real_types[r[4]];
    c.weight_type = r[5] == 0 ? scalar_type::f32 : scalar_type::bf16;
    c.bias_type = real_types[r[6]];
    c.initial_type = real_types[r[7]];
    c.final_type = real_types[r[8]];
    constexpr layout inputs[] = {layout::dense,      layout::padded,        layout::strided,
                                 layout::head_first, layout::reversed,      layout::misaligned,
                                 layout::broadcast,  layout::broadcast_time};
    c.x = inputs[r[9]];
    c.y = layouts[r[10]];
    c.weight = r[11] == 0 ? layout::dense : layout::strided;
    c.states = r[12] == 0 ? layout::dense : layout::head_first;
    c.B = 1 + r[13];
    if (r[14] == 1) {
      c.offsets = cuts_of(c.T);
      c.B = 1;
    }
    c.bias = r[15] == 1;
    c.residual = r[16] == 1;
    c.state = static_cast<conv_state>(r[17]);
    c.circular = r[18] == 1 && c.state != conv_state::none;
    c.activation = r[0] % 2 == 0 ? conv_activation::silu : conv_activation::none;
    c.more = r[2] % 3;
    if (c.circular && c.W - 1 + c.more == 0) {
      c.circular = false;
    }
    CAPTURE(c);
    const conv_problem before(c);
    for (const char* algorithm : {"", "over_time", "over_channels"}) {
      conv_problem p = before;
      p.run({.pin = {.algorithm = algorithm}});
      CAPTURE(algorithm);
      CHECK(p.verify(before) == "");
    }
  }
}

TEST_CASE("whole numbers convolve exactly, and as the equation says", "[causal_conv1d]") {
  for (const std::int64_t W : {1, 2, 4, 9}) {
    const std::int64_t B = 2, T = 23, D = 19;
    conv_case c{.B = B, .T = T, .D = D, .W = W, .bias = true, .state = conv_state::initial};
    conv_problem p(c);
    const auto whole = [](auto& t) {
      std::int64_t next = 3;
      t.for_each([&](const auto& i) {
        next = (next * 37 + 11) % 101;
        t.set(i, static_cast<double>(next - 50));
      });
    };
    whole(p.x);
    whole(p.weight);
    whole(p.bias);
    whole(p.initial);
    for (const char* implementation : {"conv1d", "naive"}) {
      p.run({.pin = {.implementation = implementation}});
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t t = 0; t < T; ++t) {
          for (std::int64_t d = 0; d < D; ++d) {
            double y = p.bias[{d}];
            for (std::int64_t i = 0; i < W; ++i) {
              const std::int64_t at = t - W + 1 + i;
              y += p.weight[{d, i}] * (at < 0 ? p.initial[{b, d, W - 1 + at}] : p.x[{b, at, d}]);
            }
            CHECK(p.y[{b, t, d}] == y);
          }
        }
      }
    }
  }
}

TEST_CASE("causal_conv1d's bits depend on the sequence alone", "[causal_conv1d][threads]") {
  for (const std::int64_t W : {3, 4, 11}) {
    conv_case c{.B = 3, .T = 150, .D = 203, .W = W, .activation = conv_activation::silu};
    c.bias = true;
    c.state = conv_state::both;
    conv_problem p(c);
    p.run();
    const auto bits = p.y.all_bits();
    const auto states = p.final.all_bits();
    for (const char* algorithm : {"over_time", "over_channels"}) {
      for (const int threads : {1, 2, 3}) {
        for (const std::uint64_t shuffle : {0u, 5u}) {
          conv_problem same(c);
          pool_executor pool(threads, shuffle);
          same.run({.executor = pool, .pin = {.algorithm = algorithm}});
          CHECK((same.y.all_bits() == bits));
          CHECK((same.final.all_bits() == states));
        }
      }
    }
    for (const layout memory : {layout::padded, layout::strided, layout::head_first,
                                layout::reversed, layout::misaligned}) {
      conv_case other = c;
      other.x = other.y = memory;
      conv_problem same(other);
      same.run();
      CHECK((same.y.all_bits() == bits));
      CHECK((same.final.all_bits() == states));
    }
    // Each sequence alone, and all packed behind a shorter one.
    conv_case pack = c;
    pack.B = 1;
    pack.T = 7 + 3 * c.T;
    pack.offsets = {0, 7, 7 + c.T, 7 + 2 * c.T, pack.T};
    conv_problem packed(pack);
    for (std::int64_t b = 0; b < c.B; ++b) {
      conv_case single = c;
      single.B = 1;
      conv_problem one(single);
      const auto copy = [&](const tensor<3>& from, tensor<3>& to, std::int64_t n,
                            std::int64_t begin) {
        from.for_each([&](const tensor<3>::index& i) {
          if (i[0] == b) {
            to.set({n, begin + i[1], i[2]}, from[i]);
          }
        });
      };
      copy(p.x, one.x, 0, 0);
      copy(p.initial, one.initial, 0, 0);
      copy(p.x, packed.x, 0, 7 + b * c.T);
      copy(p.initial, packed.initial, b + 1, 0);
      one.run();
      one.y.for_each(
          [&](const tensor<3>::index& i) { CHECK(one.y.bits(i) == p.y.bits({b, i[1], i[2]})); });
      one.final.for_each([&](const tensor<3>::index& i) {
        CHECK(one.final.bits(i) == p.final.bits({b, i[1], i[2]}));
      });
    }
    pool_executor pool(3, 9);
    packed.run({.executor = pool});
    bool same = true;
    p.y.for_each([&](const tensor<3>::index& i) {
      same &= packed.y.bits({0, 7 + i[0] * c.T + i[1], i[2]}) == p.y.bits(i);
    });
    p.final.for_each([&](const tensor<3>::index& i) {
      same &= packed.final.bits({i[0] + 1, i[1], i[2]}) == p.final.bits(i);
    });
    CHECK(same);
  }
}

TEST_CASE("outputs that go past the caches have the same bits", "[causal_conv1d][threads]") {
  // 4.5 MiB of outputs, aligned and not.
  conv_case c{.T = 1030, .D = 1152, .W = 4, .activation = conv_activation::silu};
  conv_problem near(c);
  near.run();
  c.y = layout::misaligned;
  conv_problem far(c);
  pool_executor pool(2, 3);
  far.run({.executor = pool});
  CHECK((far.y.all_bits() == near.y.all_bits()));
  c.y = layout::head_first;
  conv_problem turned(c);
  turned.run();
  CHECK((turned.y.all_bits() == near.y.all_bits()));
}

TEST_CASE("non-finite inputs reach the outputs that see them only", "[causal_conv1d]") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const std::int64_t W : {4, 6}) {
    for (const conv_activation activation : {conv_activation::none, conv_activation::silu}) {
      conv_case c{.B = 2, .T = 100, .D = 37, .W = W, .activation = activation};
      c.state = conv_state::both;
      for (const char* algorithm : {"over_time", "over_channels"}) {
        conv_problem clean(c);
        clean.run({.pin = {.algorithm = algorithm}});
        for (const double bad : {std::numeric_limits<double>::quiet_NaN(), infinity, -infinity}) {
          const conv_problem finite(c);
          conv_problem p = finite;
          p.x.set({1, 62, 36}, bad);
          p.initial.set({0, 5, W - 2}, bad);
          const conv_problem before = p;
          p.run({.pin = {.algorithm = algorithm}});
          CHECK(p.verify(before) == "");
          int wrong = 0;
          p.y.for_each([&](const tensor<3>::index& i) {
            const bool sees = (i[0] == 1 && i[2] == 36 && i[1] >= 62 && i[1] < 62 + W) ||
                              (i[0] == 0 && i[2] == 5 && i[1] < W - 1);
            wrong += !sees && p.y.bits(i) != clean.y.bits(i) ? 1 : 0;
          });
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("silu far from zero", "[causal_conv1d]") {
  for (const double x : {-1e30, -200.0, -80.0, -20.0, 80.0, 200.0, 1e30}) {
    conv_case c{.T = 40, .D = 20, .W = 1, .activation = conv_activation::silu};
    conv_problem p(c);
    p.x.for_each([&](const tensor<3>::index& i) { p.x.set(i, i[2] % 2 == 0 ? x : 0.5); });
    p.weight.for_each([&](const tensor<2>::index& i) { p.weight.set(i, 1); });
    const conv_problem before = p;
    p.run();
    CAPTURE(x);
    CHECK(p.verify(before) == "");
  }
}

TEST_CASE("a warm causal_conv1d allocates nothing and says what it runs", "[causal_conv1d]") {
  conv_case c{.B = 2, .T = 150, .D = 33, .W = 4, .activation = conv_activation::silu};
  c.state = conv_state::in_place;
  const conv_problem p(c);
  const auto x = p.x.view<const float>();
  const auto y = p.y.view<float>();
  const auto weight = p.weight.view<const float>();
  const seqmix::causal_conv1d_options options = p.options();
  seqmix::causal_conv1d(x, weight, y, options);
  const long before = allocations;
  seqmix::causal_conv1d(x, weight, y, options);
  CHECK(allocations == before);
  const auto report = seqmix::causal_conv1d.explain(x, weight, y, options);
  CHECK(report.operator_name == "causal_conv1d");
  CHECK(report.implementation == "conv1d");
  CHECK(report.algorithm == "over_channels");
  const std::size_t bytes = seqmix::causal_conv1d.workspace_bytes(x, weight, y, options);
  CHECK(bytes == report.workspace_bytes);
  for (const char* algorithm : {"over_time", "over_channels"}) {
    conv_problem same(c);
    conv_problem guarded = same;
    same.run();
    const seqmix::context pinned{.pin = {.algorithm = algorithm}};
    guarded_workspace space(seqmix::causal_conv1d.workspace_bytes(x, weight, y, options, pinned),
                            3);
    guarded.run({.workspace = space.span(), .pin = {.algorithm = algorithm}});
    CHECK(space.guards_untouched());
    CHECK((guarded.y.all_bits() == same.y.all_bits()));
  }
  conv_case times = c;
  times.x = layout::head_first;
  const conv_problem over_time(times);
  CHECK(seqmix::causal_conv1d.explain(over_time.x.view<const float>(), weight, y, options)
            .algorithm == "over_time");
}

TEST_CASE("strides of causal_conv1d beyond 2^31 elements", "[causal_conv1d]") {
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
  conv_case c{.B = 3, .T = 3, .D = 3, .W = 4};
  c.state = conv_state::both;
  conv_problem p(c);
  p.run();
  for (std::size_t axis = 0; axis < 3; ++axis) {
    for (const std::int64_t step : {far, -far}) {
      std::int64_t strides[3] = {9, 3, 1};
      strides[axis] = step;
      const auto place = [&](std::size_t i) {
        return seqmix::tensor_view<float, 3>(memory[i].data() + (step < 0 ? 2 * far : 0), {3, 3, 3},
                                             {strides[0], strides[1], strides[2]});
      };
      const auto x = place(0);
      const auto state = place(1);
      const auto y = place(2);
      for (const char* how : {"", "naive"}) {
        p.x.for_each([&](const tensor<3>::index& i) {
          x(i[0], i[1], i[2]) = static_cast<float>(p.x[i]);
          state(i[0], i[1], i[2]) = static_cast<float>(p.initial[i]);
          y(i[0], i[1], i[2]) = -5;
        });
        seqmix::causal_conv1d(x, p.weight.view<const float>(), y,
                              {.initial_state = state, .final_state = state},
                              {.pin = {.implementation = how}});
        bool same = true;
        p.y.for_each([&](const tensor<3>::index& i) {
          same &= static_cast<double>(y(i[0], i[1], i[2])) - p.y[i] < 1e-5 &&
                  p.y[i] - static_cast<double>(y(i[0], i[1], i[2])) < 1e-5;
          same &= static_cast<double>(state(i[0], i[1], i[2])) == p.final[i];
        });
        CAPTURE(axis, step, how);
        CHECK(same);
      }
    }
  }
}
