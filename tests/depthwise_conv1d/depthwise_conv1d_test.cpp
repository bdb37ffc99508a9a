// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/depthwise_conv1d/depthwise_conv1d.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conv_problem.hpp"
#include "support/errors.hpp"
#include "support/pairwise.hpp"
#include "support/pool.hpp"

using namespace seqmix_test;
using seqmix::conv_activation;
using seqmix::tensor_view;

namespace {

seqmix::depthwise_conv1d_options options_of(const conv_problem& p, std::int64_t left) {
  const auto o = p.options();
  return {.bias = o.bias,
          .activation = o.activation,
          .residual = o.residual,
          .left = left,
          .varlen = o.varlen};
}

void run(const conv_problem& p, std::int64_t left, const seqmix::context& ctx = {}) {
  p.with_views([&](const auto& x, const auto& weight, const auto& y) {
    seqmix::depthwise_conv1d(x, weight, y, options_of(p, left), ctx);
  });
}

std::vector<double> written(const conv_problem& p) {
  std::vector<double> values;
  p.y.for_each([&](const tensor<3>::index& i) {
    if (!p.y.untouched(i)) {
      values.push_back(p.y[i]);
    }
  });
  return values;
}

}  // namespace

TEST_CASE("depthwise_conv1d agrees with its definition", "[depthwise_conv1d][threads]") {
  constexpr std::int64_t tokens[] = {0, 1, 2, 5, 16, 33, 64, 65, 130, 200};
  constexpr std::int64_t channels[] = {1, 8, 17, 64, 131, 300};
  constexpr std::int64_t taps[] = {1, 2, 3, 4, 7, 16, 64};
  constexpr scalar_type types[] = {scalar_type::f32, scalar_type::f64, scalar_type::f16,
                                   scalar_type::bf16};
  constexpr layout layouts[] = {layout::dense, layout::strided, layout::head_first,
                                layout::reversed};
  const test_plan plan = pairwise_plan({10, 6, 7, 4, 4, 4, 4, 4, 2, 2}, 4);
  std::printf("depthwise_conv1d: %zu cases\n", plan.size());
  for (const auto& r : plan) {
    conv_case c;
    c.T = tokens[r[0]];
    c.D = channels[r[1]];
    c.W = taps[r[2]];
    c.x_type = types[r[3]];
    c.y_type = types[r[4]];
    c.x = layouts[r[5]];
    c.y = layouts[r[6]];
    const std::int64_t lefts[] = {-1, 0, c.W - 1, c.W / 3};
    const std::int64_t left = lefts[r[7]];
    c.B = r[8] == 0 ? 2 : 1;
    if (r[8] == 1) {
      c.offsets = {0, c.T / 3, c.T / 3, c.T / 2, c.T};
    }
    c.bias = r[9] == 1;
    c.residual = r[9] == 0;
    c.activation = r[8] == r[9] ? conv_activation::silu : conv_activation::none;
    CAPTURE(c, left);
    const conv_problem before(c);
    conv_problem expected = before;
    run(expected, left, {.pin = {.implementation = "naive"}});
    for (const char* algorithm : {"over_time", "over_channels"}) {
      conv_problem p = before;
      pool_executor pool(2, 3);
      run(p, left, {.executor = pool, .pin = {.algorithm = algorithm}});
      CHECK(p.y.gaps_untouched());
      CHECK(compare(written(p), written(expected), tolerance_of(c.y_type), bound::target, 0.5) ==
            "");
      CHECK(p.x.all_bits() == before.x.all_bits());
    }
  }
}

TEST_CASE("a window of W = 7 looks three tokens each way", "[depthwise_conv1d]") {
  const std::int64_t T = 12, D = 2;
  std::vector<float> x(T * D), weight{1, 2, 4, 8, 16, 32, 64, 1, 0, 0, 0, 0, 0, 0};
  std::vector<float> y(x.size());
  for (std::int64_t t = 0; t < T; ++t) {
    x[static_cast<std::size_t>(t * D)] = t == 5 ? 1.0f : 0.0f;
    x[static_cast<std::size_t>(t * D + 1)] = static_cast<float>(t + 1);
  }
  for (const char* implementation : {"conv1d", "naive"}) {
    seqmix::depthwise_conv1d(seqmix::view(x.data(), 1, T, D), seqmix::view(weight.data(), D, 7),
                             seqmix::view(y.data(), 1, T, D), {},
                             {.pin = {.implementation = implementation}});
    for (std::int64_t t = 0; t < T; ++t) {
      const std::int64_t tap = 5 - t + 3;  // the one that meets the impulse
      CHECK(y[static_cast<std::size_t>(t * D)] ==
            (tap >= 0 && tap < 7 ? weight[static_cast<std::size_t>(tap)] : 0.0f));
      CHECK(y[static_cast<std::size_t>(t * D + 1)] == (t < 3 ? 0.0f : static_cast<float>(t - 2)));
    }
  }
}

TEST_CASE("left of W - 1 is causal_conv1d, bit for bit", "[depthwise_conv1d]") {
  conv_case c{.B = 2, .T = 90, .D = 45, .W = 5, .activation = conv_activation::silu};
  conv_problem causal(c);
  causal.run();
  conv_problem window(c);
  run(window, c.W - 1);
  CHECK((window.y.all_bits() == causal.y.all_bits()));
}

TEST_CASE("mirrored tokens and taps give mirrored outputs", "[depthwise_conv1d]") {
  // Whole numbers, whose sums do not round, whatever their order.
  const std::int64_t T = 70, D = 20, W = 6;
  conv_problem p({.T = T, .D = D, .W = W});
  conv_problem mirrored = p;
  p.x.for_each([&](const tensor<3>::index& i) {
    const auto value = static_cast<double>((i[1] * 31 + i[2] * 17) % 23 - 11);
    p.x.set(i, value);
    mirrored.x.set({0, T - 1 - i[1], i[2]}, value);
  });
  p.weight.for_each([&](const tensor<2>::index& i) {
    const auto value = static_cast<double>((i[0] * 7 + i[1] * 5) % 9 - 4);
    p.weight.set(i, value);
    mirrored.weight.set({i[0], W - 1 - i[1]}, value);
  });
  for (std::int64_t left = 0; left < W; ++left) {
    run(p, left);
    run(mirrored, W - 1 - left);
    int wrong = 0;
    p.y.for_each([&](const tensor<3>::index& i) {
      wrong += p.y[i] != mirrored.y[{0, T - 1 - i[1], i[2]}] ? 1 : 0;
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("packed sequences are as alone, and see no neighbour", "[depthwise_conv1d][threads]") {
  conv_case c{.T = 150, .D = 29, .W = 7, .offsets = {0, 1, 1, 60, 64, 140}};
  c.activation = conv_activation::silu;
  conv_problem p(c);
  run(p, -1);
  conv_problem hidden(c);
  // Beyond the last sequence, and in the one before the last.
  hidden.x.set({0, 141, 3}, std::numeric_limits<double>::quiet_NaN());
  hidden.x.set({0, 63, 3}, std::numeric_limits<double>::infinity());
  pool_executor pool(3, 7);
  run(hidden, -1, {.executor = pool});
  for (std::size_t n = 0; n + 1 < c.offsets.size(); ++n) {
    conv_case alone = c;
    alone.T = c.offsets[n + 1] - c.offsets[n];
    alone.offsets = {};
    conv_problem one(alone);
    one.x.for_each(
        [&](const tensor<3>::index& i) { one.x.set(i, p.x[{0, c.offsets[n] + i[1], i[2]}]); });
    run(one, -1);
    one.y.for_each([&](const tensor<3>::index& i) {
      const tensor<3>::index at{0, c.offsets[n] + i[1], i[2]};
      CHECK(p.y.bits(at) == one.y.bits(i));
      CHECK((n == 3 || hidden.y.bits(at) == one.y.bits(i)));
    });
  }
  CHECK(p.y.untouched({0, 140, 0}));
}

TEST_CASE("bad windows are refused", "[depthwise_conv1d][errors]") {
  constexpr float untouched = -77.0f;
  const std::vector<float> in(60, 0.5f);
  std::vector<float> out(60, untouched);
  const auto refuses = [&](const char* argument, const char* expected, const char* actual,
                           const seqmix::depthwise_conv1d_options& options, std::int64_t D) {
    const auto x = seqmix::view(in.data(), 2, 5, 6);
    const auto y = seqmix::view(out.data(), 2, 5, 6);
    const auto weight = seqmix::view(in.data(), D, 4);
    const auto& op = seqmix::depthwise_conv1d;
    for (const seqmix::error& e :
         {error_of([&] { op(x, weight, y, options); }),
          error_of([&] { op.explain(x, weight, y, options); }),
          error_of([&] { op.workspace_bytes(x, weight, y, options); }),
          error_of([&] { seqmix::naive_depthwise_conv1d(x, weight, y, options); })}) {
      check_error(e, "depthwise_conv1d", argument, expected, actual);
      CHECK(out == std::vector<float>(60, untouched));
    }
  };
  refuses("options.left", "0 to 3", "4", {.left = 4}, 6);
  refuses("options.left", "0 to 3", "-2", {.left = -2}, 6);
  refuses("weight", "[D, W] = [6, 4]", "[5, 4]", {}, 5);
  refuses("options.bias", "[D] = [6]", "[7]", {.bias = seqmix::view(in.data(), 7)}, 6);
  CHECK(seqmix::depthwise_conv1d
            .explain(seqmix::view(in.data(), 2, 5, 6), seqmix::view(in.data(), 6, 4),
                     seqmix::view(out.data(), 2, 5, 6))
            .operator_name == "depthwise_conv1d");
}
