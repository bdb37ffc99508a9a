// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/selective_scan/selective_scan.hpp>
#include <seqmix/ops/ssd/ssd.hpp>

#include "seqmix_cpu.hpp"

namespace seqmix_bench {

namespace {

/// x [T, H], weight [H, K], no state.
struct convolution {
  static auto with(const auto& f, const peer_call& c, const seqmix::context& ctx) {
    return f(seqmix::view(input(c, 0), 1, c.T, c.H), seqmix::view(input(c, 1), c.H, c.K),
             seqmix::view(output(c), 1, c.T, c.H), seqmix::causal_conv1d_options{}, ctx);
  }
};

/// x [T, H, V], dt [T, H], a [H], B and C [T, K] for all heads.
struct dual {
  static auto with(const auto& f, const peer_call& c, const seqmix::context& ctx) {
    seqmix::ssd_options options{.dt_softplus = true};
    options.initial_state = seqmix::view(c.state, 1, c.H, c.K, c.V);
    options.final_state = seqmix::view(c.final_state, 1, c.H, c.K, c.V);
    return f(seqmix::view(input(c, 0), 1, c.T, c.H, c.V), seqmix::view(input(c, 1), 1, c.T, c.H),
             seqmix::view(input(c, 2), c.H), seqmix::view(input(c, 3), 1, c.T, 1, c.K),
             seqmix::view(input(c, 4), 1, c.T, 1, c.K), seqmix::view(output(c), 1, c.T, c.H, c.V),
             options, ctx);
  }
};

/// The same with a [H, K] and V = 1; the state [H, K].
struct selective {
  static auto with(const auto& f, const peer_call& c, const seqmix::context& ctx) {
    seqmix::selective_scan_options options{.delta_softplus = true};
    options.initial_state = seqmix::view(c.state, 1, c.H, c.K);
    options.final_state = seqmix::view(c.final_state, 1, c.H, c.K);
    return f(seqmix::view(input(c, 0), 1, c.T, c.H), seqmix::view(input(c, 1), 1, c.T, c.H),
             seqmix::view(input(c, 2), c.H, c.K), seqmix::view(input(c, 3), 1, c.T, 1, c.K),
             seqmix::view(input(c, 4), 1, c.T, 1, c.K), seqmix::view(output(c), 1, c.T, c.H),
             options, ctx);
  }
};

template <auto& Op, class Form>
constexpr peer_operator entry(std::string_view name) {
  return {name, [](const peer_call& c, const seqmix::context& ctx) { Form::with(Op, c, ctx); },
          [](const peer_call& c, const seqmix::context& ctx) {
            return Form::with(Op.explain, c, ctx);
          }};
}

constexpr peer_operator operators[] = {
    entry<seqmix::causal_conv1d, convolution>("causal_conv1d"),
    entry<seqmix::selective_scan, selective>("selective_scan"),
    entry<seqmix::ssd, dual>("ssd"),
};

}  // namespace

const peer_operator* find_scan(std::string_view name) {
  const auto found = std::find_if(std::begin(operators), std::end(operators),
                                  [&](const peer_operator& o) { return o.name == name; });
  return found == std::end(operators) ? nullptr : &*found;
}

}  // namespace seqmix_bench
