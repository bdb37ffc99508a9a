// SPDX-License-Identifier: Apache-2.0
// A call of softmax_attention as plain data, and its views: what the units of this folder share.
#pragma once

#include <cstdint>
#include <exception>
#include <seqmix/seqmix.hpp>
#include <string>
#include <type_traits>

/// A user's functor, compiled in functors.cu; library.py has the same numbers.
enum seqmix_gpu_functor : std::int32_t {
  seqmix_gpu_no_functor,
  seqmix_gpu_softcap_functor,       ///< a score functor: the call's `softcap`, not as an option
  seqmix_gpu_fast_softcap_functor,  ///< the same with `fast_tanh`
  seqmix_gpu_sparse_functor,        ///< a mask functor that hides every sixteenth pair
  seqmix_gpu_causal_functor,        ///< a mask functor that answers for blocks too
};

/// One call. Cached when `lengths` is given, packed when `q_offsets` is, else batched. All pointers
/// are to the GPU's memory; library.py has the same members in the same order.
struct seqmix_gpu_call {
  const void *q, *k, *v;
  void* o;
  float* lse;                                 // [B, H, T] dense, packed [H, T]; may be null
  const std::int32_t* lengths;                // [B]
  const std::int32_t *q_offsets, *k_offsets;  // [B + 1]
  const float *sink_logits, *alibi_slopes;    // [H]; may be null
  std::int64_t B, T, S, H, HK, D, V;          // packed: B sequences, T and S are totals
  std::int64_t q_strides[4], k_strides[4], v_strides[4], o_strides[4];  // elements, [B, T, H, D]
  std::int64_t max_q, max_k;
  std::int64_t window_left;  // -1: unbounded
  std::int64_t sink_tokens;
  double softcap;
  std::int32_t bf16, causal, functor, ordinal;
  void* stream;
};

namespace seqmix_gpu {

inline seqmix::device gpu_of(const seqmix_gpu_call& c) {
  return {seqmix::device_kind::cuda, c.ordinal};
}

/// A softcap is an option unless a functor stands for it.
inline seqmix::softmax_attention_options options_of(const seqmix_gpu_call& c) {
  using namespace seqmix;
  const auto heads = [&](const float* p) { return tensor_view<const float, 1>(p, c.H, gpu_of(c)); };
  softmax_attention_options options;
  options.causal = c.causal != 0;
  options.window.left = c.window_left;
  options.sink_tokens = c.sink_tokens;
  if (c.functor == seqmix_gpu_no_functor) {
    options.softcap = c.softcap;
  }
  if (c.sink_logits != nullptr) {
    options.sink_logits = heads(c.sink_logits);
  }
  if (c.alibi_slopes != nullptr) {
    options.alibi_slopes = heads(c.alibi_slopes);
  }
  if (c.lse != nullptr) {
    const std::int64_t batch = c.q_offsets == nullptr ? c.B : 1;
    options.lse = tensor_view<float, 3>(c.lse, {batch, c.H, c.T}, gpu_of(c));
  }
  if (c.q_offsets != nullptr) {
    options.varlen.q_offsets = tensor_view<const std::int32_t, 1>(c.q_offsets, c.B + 1, gpu_of(c));
    options.varlen.k_offsets = tensor_view<const std::int32_t, 1>(c.k_offsets, c.B + 1, gpu_of(c));
    options.varlen.max_q = c.max_q;
    options.varlen.max_k = c.max_k;
  }
  return options;
}

/// Calls op(q, k and v or a kv_view, o, options, context) with the views of `c`.
template <class T>
void with_views(const seqmix_gpu_call& c, const auto& op) {
  using namespace seqmix;
  const auto view = [&]<class E>(E* data, std::int64_t tokens, std::int64_t heads, std::int64_t dim,
                                 const std::int64_t(&s)[4]) {
    return tensor_view<E, 4>(data, {c.q_offsets == nullptr ? c.B : 1, tokens, heads, dim},
                             {s[0], s[1], s[2], s[3]}, gpu_of(c));
  };
  const auto q = view(static_cast<const T*>(c.q), c.T, c.H, c.D, c.q_strides);
  const auto k = view(static_cast<const T*>(c.k), c.S, c.HK, c.D, c.k_strides);
  const auto v = view(static_cast<const T*>(c.v), c.S, c.HK, c.V, c.v_strides);
  const auto o = view(static_cast<T*>(c.o), c.T, c.H, c.V, c.o_strides);
  const softmax_attention_options options = options_of(c);
  context ctx;
  ctx.device = device_policy::cuda;
  ctx.cuda_stream = c.stream;
  if (c.lengths != nullptr) {
    kv_layout layout;
    layout.lengths = tensor_view<const std::int32_t, 1>(c.lengths, c.B, gpu_of(c));
    op(q, kv_view(k, v, layout), o, options, ctx);
  } else if (c.q_offsets != nullptr) {
    const auto packed = [](const auto& x) {
      using element = typename std::remove_cvref_t<decltype(x)>::element_type;
      return tensor_view<element, 3>(x.data_handle(), {x.extent(1), x.extent(2), x.extent(3)},
                                     {x.stride(1), x.stride(2), x.stride(3)}, x.memory());
    };
    op(packed(q), packed(k), packed(v), packed(o), options, ctx);
  } else {
    op(q, k, v, o, options, ctx);
  }
}

/// Calls with a functor: queues the call `repeats` times, and says where it goes. Both throw what
/// seqmix does.
void run_functor(const seqmix_gpu_call& c, std::int64_t repeats);
std::string explain_functor(const seqmix_gpu_call& c);

}  // namespace seqmix_gpu
