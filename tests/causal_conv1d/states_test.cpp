// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/conv_problem.hpp"
#include "support/pool.hpp"

using namespace seqmix_test;
using seqmix::conv_activation;
using seqmix::view;

namespace {

std::vector<float> numbers(std::int64_t n, std::uint64_t seed) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) {
    v[i] = static_cast<float>(normal(mix(seed) + i));
  }
  return v;
}

}  // namespace

TEST_CASE("prefill and then updates are one pass, bit for bit", "[causal_conv1d]") {
  const std::int64_t T = 21, D = 37;
  for (const std::int64_t W : {1, 2, 3, 4, 7}) {
    for (const std::int64_t more : {0, 2}) {
      for (const bool circular : {false, true}) {
        const std::int64_t L = W - 1 + more;
        if (circular && L == 0) {
          continue;
        }
        auto x = numbers(T * D, 1);
        auto w = numbers(D * W, 2);
        const auto weight = view(w.data(), D, W);
        std::vector<float> whole(x.size()), parts(x.size());
        std::vector<float> last(static_cast<std::size_t>(D * L)), state = last;
        seqmix::causal_conv1d(
            view(x.data(), 1, T, D), weight, view(whole.data(), 1, T, D),
            {.activation = conv_activation::silu, .final_state = view(last.data(), 1, D, L)});
        for (std::int64_t prefill = 0; prefill <= T; ++prefill) {
          for (const std::int64_t step : {1, 2, 5, 16}) {
            std::fill(parts.begin(), parts.end(), -1.0f);
            std::fill(state.begin(), state.end(), 0.0f);
            std::int64_t position = 0;
            const auto run = [&](std::int64_t n) {
              seqmix::causal_conv1d_options options{.activation = conv_activation::silu};
              if (circular) {
                options.state_positions = view(&position, 1);
              }
              seqmix::causal_conv1d_update(view(x.data() + position * D, 1, n, D), weight,
                                           view(parts.data() + position * D, 1, n, D),
                                           view(state.data(), 1, D, L), options);
              position += n;
            };
            run(prefill);
            while (position < T) {
              run(std::min(step, T - position));
            }
            bool same = parts == whole;
            for (std::int64_t d = 0; d < D; ++d) {
              for (std::int64_t j = 0; j < L; ++j) {
                const std::int64_t entry = circular ? (T + j) % L : j;
                same &= state[static_cast<std::size_t>(d * L + entry)] ==
                        last[static_cast<std::size_t>(d * L + j)];
              }
            }
            CAPTURE(W, more, circular, prefill, step);
            CHECK(same);
          }
        }
      }
    }
  }
}

TEST_CASE("states of short sequences mix old and new inputs", "[causal_conv1d]") {
  // W = 5, T = 2: the two newest of the old state, then both tokens.
  const std::int64_t D = 2, W = 5;
  const std::vector<float> weight(D * W, 1);
  const std::vector<float> x{1, 2, 3, 4};
  std::vector<float> y(4);
  std::vector<float> state{10, 20, 30, 40, 50, 60, 70, 80};
  seqmix::causal_conv1d_update(view(x.data(), 1, 2, D), view(weight.data(), D, W),
                               view(y.data(), 1, 2, D), view(state.data(), 1, D, W - 1));
  CHECK(y == std::vector<float>{101, 262, 94, 216});
  CHECK(state == std::vector<float>{30, 40, 1, 3, 70, 80, 2, 4});
  // The same with a circular state: time -1 is entry 2, time 0 entry 3, time 1 entry 0.
  state = {20, 30, 40, 10, 60, 70, 80, 50};
  const std::int32_t position = 3;
  seqmix::causal_conv1d_update(view(x.data(), 1, 2, D), view(weight.data(), D, W),
                               view(y.data(), 1, 2, D), view(state.data(), 1, D, W - 1),
                               {.state_positions = view(&position, 1)});
  CHECK(y == std::vector<float>{101, 262, 94, 216});
  CHECK(state == std::vector<float>{3, 30, 40, 1, 4, 70, 80, 2});
}

TEST_CASE("a circular state with room keeps what a rollback needs", "[causal_conv1d]") {
  // Five tokens are tried from position 9, and two of them kept: the next call starts at 11.
  const std::int64_t D = 19, W = 4, L = W - 1 + 5, T = 16;
  auto x = numbers(T * D, 5);
  auto w = numbers(D * W, 6);
  const auto weight = view(w.data(), D, W);
  std::vector<float> whole(x.size()), parts(x.size()), state(static_cast<std::size_t>(D * L));
  seqmix::causal_conv1d(view(x.data(), 1, T, D), weight, view(whole.data(), 1, T, D));
  const auto run = [&](std::int64_t position, const float* from, std::int64_t n) {
    seqmix::causal_conv1d_update(
        view(from, 1, n, D), weight, view(parts.data() + position * D, 1, n, D),
        view(state.data(), 1, D, L), {.state_positions = view(&position, 1)});
  };
  run(0, x.data(), 9);
  auto tried = numbers(5 * D, 7);
  std::copy_n(x.begin() + 9 * D, 2 * D, tried.begin());
  run(9, tried.data(), 5);
  run(11, x.data() + 11 * D, T - 11);
  CHECK(parts == whole);
}

TEST_CASE("empty sequences pass their states on, bit for bit", "[causal_conv1d][threads]") {
  for (const scalar_type type : {scalar_type::f32, scalar_type::f64, scalar_type::bf16}) {
    for (const bool packed : {false, true}) {
      for (const conv_state state : {conv_state::both, conv_state::in_place, conv_state::slots,
                                     conv_state::elsewhere, conv_state::final}) {
        conv_case c{.B = packed ? 1 : 4, .T = packed ? 9 : 0, .D = 21, .W = 4, .state = state};
        if (packed) {
          c.offsets = {0, 0, 5, 5, 9, 9};
        }
        c.initial_type = c.final_type = type;
        conv_problem p(c);
        const conv_problem before = p;
        pool_executor pool(2);
        p.run({.executor = pool});
        CHECK(p.verify(before) == "");
        if (state == conv_state::both) {
          p.final.for_each([&](const tensor<3>::index& i) {
            if (!packed || i[0] % 2 == 0) {
              CHECK(p.final.bits(i) == p.initial.bits(i));
            }
          });
        }
        if (state == conv_state::final && !packed) {
          CHECK(p.final.values() == std::vector<double>(static_cast<std::size_t>(p.final.size())));
        }
      }
    }
  }
}

TEST_CASE("old inputs of a double state keep their digits beside float tokens", "[causal_conv1d]") {
  const std::vector<float> x{2, 3};
  const std::vector<float> weight(2 * 4, 1);
  std::vector<float> y(2);
  std::vector<double> state{0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  seqmix::causal_conv1d_update(view(x.data(), 1, 1, 2), view(weight.data(), 2, 4),
                               view(y.data(), 1, 1, 2), view(state.data(), 1, 2, 3));
  CHECK(state == std::vector<double>{0.2, 0.3, 2, 0.5, 0.6, 3});
}

TEST_CASE("sequences that many tasks share write their states after all have read",
          "[causal_conv1d][threads]") {
  // Tokens of one sequence in several tasks, in place, in any order of the tasks.
  for (const std::int64_t T : {63, 64, 65, 129, 500}) {
    for (const std::int64_t W : {4, 40}) {
      conv_case c{.B = 2, .T = T, .D = 40, .W = W, .state = conv_state::in_place};
      conv_problem once(c);
      once.run();
      for (const std::uint64_t shuffle : {1u, 2u, 3u}) {
        conv_problem p(c);
        pool_executor pool(3, shuffle);
        p.run({.executor = pool});
        CHECK((p.y.all_bits() == once.y.all_bits()));
        CHECK((p.initial.all_bits() == once.initial.all_bits()));
      }
      // Packed, the borders of tasks fall into short sequences, too.
      conv_case pack = c;
      pack.B = 1;
      pack.T = 2 * T;
      pack.offsets = {0, 1, 62, 66, 67, 2 * T};
      conv_problem reference(pack);
      const conv_problem before = reference;
      pool_executor pool(3, 4);
      reference.run({.executor = pool});
      CHECK(reference.verify(before) == "");
    }
  }
}

TEST_CASE("updates of a pool touch the entries of their sequences only", "[causal_conv1d]") {
  const std::int64_t pool = 6, D = 33, L = 3;
  auto x = numbers(3 * D, 8);
  auto w = numbers(D * 4, 9);
  auto state = numbers(pool * D * L, 10);
  const auto before = state;
  std::vector<float> y(x.size(), -7.0f);
  const std::int32_t slots[] = {4, -1, 0};
  seqmix::causal_conv1d_update(view(x.data(), 3, 1, D), view(w.data(), D, 4),
                               view(y.data(), 3, 1, D), view(state.data(), pool, D, L),
                               {.initial_slots = view(slots, 3)});
  const auto entry = [&](const std::vector<float>& s, std::int64_t n) {
    return std::vector<float>(s.begin() + n * D * L, s.begin() + (n + 1) * D * L);
  };
  for (const std::int64_t n : {1, 2, 3, 5}) {
    CHECK(entry(state, n) == entry(before, n));
  }
  CHECK(entry(state, 4)[2] == x[0]);
  CHECK(entry(state, 0)[2] == x[static_cast<std::size_t>(2 * D)]);
  CHECK(y[0] != -7.0f);
  CHECK(std::vector<float>(y.begin() + D, y.begin() + 2 * D) ==
        std::vector<float>(static_cast<std::size_t>(D), -7.0f));
}

TEST_CASE("single tokens with dense states agree with the definition", "[causal_conv1d][threads]") {
  using enum scalar_type;
  for (const std::int64_t W : {2, 3, 4, 5, 6}) {
    for (const auto& types :
         {std::pair{f32, f32}, std::pair{bf16, bf16}, std::pair{f16, f16}, std::pair{bf16, f32},
          std::pair{f64, f64}, std::pair{f32, bf16}, std::pair{f32, f64}}) {
      for (const conv_state state :
           {conv_state::both, conv_state::in_place, conv_state::slots, conv_state::elsewhere}) {
        for (const bool packed : {false, true}) {
          conv_case c{.B = packed ? 1 : 5, .T = packed ? 3 : 1, .D = 45, .W = W, .state = state};
          if (packed) {
            c.offsets = {0, 1, 1, 2, 3};
          }
          c.activation = W % 2 == 0 ? conv_activation::silu : conv_activation::none;
          c.bias = true;
          c.residual = W > 3;
          c.x_type = c.y_type = types.first;
          c.initial_type = c.final_type = types.second;
          const conv_problem before(c);
          conv_problem p = before;
          pool_executor pool(2, 5);
          p.run({.executor = pool});
          CAPTURE(c);
          CHECK(p.verify(before) == "");
        }
      }
    }
  }
}
