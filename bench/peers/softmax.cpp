// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <stdexcept>
#include <type_traits>

#include "seqmix_cpu.hpp"

namespace seqmix_bench {

namespace {

/// Calls f(q, k, v, o, options, ctx), or of int8 keys and values f(q, kv, o, options, ctx).
template <class T, class KV>
auto with_views(const auto& f, const peer_call& c, const seqmix::context& ctx) {
  const seqmix::softmax_attention_options options{.scale = c.scale, .causal = c.causal != 0};
  const auto q = seqmix::view(input<T>(c, 0), 1, c.T, c.H, c.K);
  const auto k = seqmix::view(input<KV>(c, 1), 1, c.S, c.HK, c.K);
  const auto v = seqmix::view(input<KV>(c, 2), 1, c.S, c.HK, c.V);
  const auto o = seqmix::view(output<T>(c), 1, c.T, c.H, c.V);
  if constexpr (std::is_same_v<KV, std::int8_t>) {
    const auto scales = [&](int i) { return seqmix::view(input(c, i), 1, c.S, c.HK); };
    const seqmix::kv_layout layout{.k_scale = scales(3), .v_scale = scales(4)};
    return f(q, seqmix::kv_view(k, v, layout), o, options, ctx);
  } else {
    return f(q, k, v, o, options, ctx);
  }
}

auto with_types(const auto& f, const peer_call& c, const seqmix::context& ctx) {
  switch (c.types) {
    case peer_types::f32:
      return with_views<float, float>(f, c, ctx);
    case peer_types::bf16:
      return with_views<seqmix::bf16, seqmix::bf16>(f, c, ctx);
    case peer_types::f32_over_bf16:
      return with_views<float, seqmix::bf16>(f, c, ctx);
    case peer_types::f32_over_i8:
      return with_views<float, std::int8_t>(f, c, ctx);
  }
  throw std::invalid_argument("no such element types");
}

constexpr peer_operator softmax_operator{"softmax_attention",
                                         [](const peer_call& c, const seqmix::context& ctx) {
                                           with_types(seqmix::softmax_attention, c, ctx);
                                         },
                                         [](const peer_call& c, const seqmix::context& ctx) {
                                           return with_types(seqmix::softmax_attention.explain, c,
                                                             ctx);
                                         }};

}  // namespace

const peer_operator* find_softmax(std::string_view name) {
  return name == softmax_operator.name ? &softmax_operator : nullptr;
}

}  // namespace seqmix_bench
