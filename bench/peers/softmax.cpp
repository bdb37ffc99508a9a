// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include "seqmix_cpu.hpp"

namespace seqmix_bench {

namespace {

/// Calls f(q, k, v, o, options, ctx).
auto with_views(const auto& f, const peer_call& c, const seqmix::context& ctx) {
  const seqmix::softmax_attention_options options{.scale = c.scale, .causal = c.causal != 0};
  return f(seqmix::view(c.inputs[0], 1, c.T, c.H, c.K),
           seqmix::view(c.inputs[1], 1, c.S, c.HK, c.K),
           seqmix::view(c.inputs[2], 1, c.S, c.HK, c.V), seqmix::view(c.output, 1, c.T, c.H, c.V),
           options, ctx);
}

constexpr peer_operator softmax_operator{"softmax_attention",
                                         [](const peer_call& c, const seqmix::context& ctx) {
                                           with_views(seqmix::softmax_attention, c, ctx);
                                         },
                                         [](const peer_call& c, const seqmix::context& ctx) {
                                           return with_views(seqmix::softmax_attention.explain, c,
                                                             ctx);
                                         }};

}  // namespace

const peer_operator* find_softmax(std::string_view name) {
  return name == softmax_operator.name ? &softmax_operator : nullptr;
}

}  // namespace seqmix_bench
