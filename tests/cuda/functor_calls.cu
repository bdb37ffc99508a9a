// SPDX-License-Identifier: Apache-2.0
#include "functor_calls.hpp"

#include <cmath>
#include <seqmix/cuda/softmax_attention/functor.cuh>

namespace seqmix_test {

namespace {

struct capped_and_near {
  float cap;
  float slope;

  SEQMIX_HOST_DEVICE float operator()(float score, const seqmix::score_context& at) const {
#if defined(__CUDA_ARCH__)
    if (at.query < 0 || at.query >= at.queries || at.key < 0 || at.key >= at.keys) {
      __trap();  // a functor may look things up by these
    }
#endif
    const auto distance = static_cast<float>(at.query + at.keys - at.queries - at.key);
    const auto place = static_cast<float>(1 + at.head + 2 * at.sequence);
    return cap * tanhf(score / cap) - slope / place * fabsf(distance);
  }
};
constexpr capped_and_near functor{3, 0.05f};

template <class T, class Call>
void with_form(attention_problem& p, const Call& call) {
  const seqmix::softmax_attention_options options = p.options();
  switch (p.c.form) {
    case call_form::batched:
      return call(options, p.o.view<T>(), p.q.view<const T>(), p.k.view<const T>(),
                  p.v.view<const T>());
    case call_form::packed:
      return call(options, p.o.packed_view<T>(), p.q.packed_view<const T>(),
                  p.k.packed_view<const T>(), p.v.packed_view<const T>());
    default:
      return call(options, p.o.view<T>(), p.q.view<const T>(),
                  seqmix::kv_view(p.k.view<const T>(), p.v.view<const T>(),
                                  {.lengths = index_view(p.lengths)}));
  }
}

template <class T>
void run_as(attention_problem& p, const seqmix::context* ctx) {
  with_form<T>(p, [&](const auto& options, const auto& o, const auto&... inputs) {
    if (ctx != nullptr) {
      seqmix::softmax_attention(inputs..., o, functor, options, *ctx);
    } else {
      seqmix::naive_softmax_attention(inputs..., o, functor, options);
    }
  });
}

void run_either(attention_problem& p, const seqmix::context* ctx) {
  p.c.types.q == scalar_type::f16 ? run_as<seqmix::f16>(p, ctx) : run_as<seqmix::bf16>(p, ctx);
}

}  // namespace

void run_scored(attention_problem& p, const seqmix::context& ctx) { run_either(p, &ctx); }
void run_scored_naive(attention_problem& p) { run_either(p, nullptr); }

}  // namespace seqmix_test
