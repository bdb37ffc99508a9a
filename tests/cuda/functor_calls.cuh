// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/cuda/softmax_attention/functor.cuh>

#include "functor_calls.hpp"

namespace seqmix_test {

/// Calls with `functors...` in the problem's form, or the oracle without a context.
template <class T, class... F>
void run_with(attention_problem& p, const seqmix::context* ctx, const F&... functors) {
  const seqmix::softmax_attention_options options = p.options();
  const auto call = [&](const auto& o, const auto&... inputs) {
    if (ctx != nullptr) {
      seqmix::softmax_attention(inputs..., o, functors..., options, *ctx);
    } else {
      seqmix::naive_softmax_attention(inputs..., o, functors..., options);
    }
  };
  switch (p.c.form) {
    case call_form::batched:
      return call(p.o.view<T>(), p.q.view<const T>(), p.k.view<const T>(), p.v.view<const T>());
    case call_form::packed:
      return call(p.o.packed_view<T>(), p.q.packed_view<const T>(), p.k.packed_view<const T>(),
                  p.v.packed_view<const T>());
    default:
      return call(p.o.view<T>(), p.q.view<const T>(),
                  seqmix::kv_view(p.k.view<const T>(), p.v.view<const T>(),
                                  {.lengths = index_view(p.lengths)}));
  }
}

}  // namespace seqmix_test
