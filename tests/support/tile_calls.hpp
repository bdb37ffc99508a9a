// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/bf16_tiles_cpu.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include "attention_calls.hpp"
#include "emulated_tiles.hpp"

namespace seqmix_test {

/// The attention by tiles with the emulated engine, which no call of the library offers.
template <class TO>
inline constexpr seqmix::dispatch::implementation<seqmix::softmax_attention_problem> emulated_entry{
    "emulated", seqmix::dispatch::processor::cpu,
    &seqmix::detail::bf16_tiles_cpu<TO, emulated_tiles, seqmix::simd::default_arch>::query,
    &seqmix::detail::bf16_tiles_cpu<TO, emulated_tiles, seqmix::simd::default_arch>::run,
    /*automatic=*/false};

/// A checked call that has only `emulated_entry` to run.
template <class TO>
struct emulated_binder {
  using call = seqmix::detail::attention_call<seqmix::simd::default_arch>;

  template <class Q, class K, class V>
  call operator()(const Q& q, const K& k, const V& v, const seqmix::tensor_view<TO, Q::rank()>& o,
                  const seqmix::softmax_attention_options& options) const {
    return bind(q, k, v, o, options, {});
  }
  template <class Q, class TK, class TV>
  call operator()(const Q& q, const seqmix::kv_view<TK, TV>& kv,
                  const seqmix::tensor_view<TO, 4>& o,
                  const seqmix::softmax_attention_options& options) const {
    return bind(q, kv.k, kv.v, o, options, kv.layout);
  }

 private:
  template <class Q, class K, class V, class O>
  static call bind(const Q& q, const K& k, const V& v, const O& o,
                   const seqmix::softmax_attention_options& options,
                   const seqmix::kv_layout& layout) {
    auto p = seqmix::detail::describe_attention(q, k, v, o, options, layout);
    return seqmix::detail::checked_call<seqmix::simd::default_arch, seqmix::detail::plain_name>(
        p, options, layout, {&emulated_entry<TO>, 1});
  }
};

/// bf16 queries, keys and values, an output of TO, by emulated tiles.
template <class TO>
attention_calls emulated_calls() {
  using seqmix::bf16;
  static constexpr auto pinned = [](seqmix::context ctx) {
    ctx.pin.implementation = "emulated";
    return ctx;
  };
  static constexpr auto bound = [](attention_problem& p) {
    return with_views<bf16, bf16, bf16, TO>(p, emulated_binder<TO>{});
  };
  return {{scalar_type::bf16, scalar_type::bf16, scalar_type::bf16, seqmix::scalar_type_of<TO>,
           /*rounded_weights=*/true},
          [](attention_problem& p, const seqmix::context& ctx) { bound(p).run(pinned(ctx)); },
          [](attention_problem& p, const seqmix::context& ctx) {
            return bound(p).workspace_bytes(pinned(ctx));
          },
          [](attention_problem& p, const seqmix::context& ctx) {
            return bound(p).explain(pinned(ctx));
          }};
}

}  // namespace seqmix_test
