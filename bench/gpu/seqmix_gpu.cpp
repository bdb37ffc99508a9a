// SPDX-License-Identifier: Apache-2.0
// softmax_attention on device memory behind a C interface, for run.py, which has PyTorch's tensors.
#include <cstdint>
#include <exception>
#include <seqmix/seqmix.hpp>
#include <string>
#include <type_traits>

#define SEQMIX_GPU_EXPORT extern "C" __attribute__((visibility("default")))

/// One call. Cached when `lengths` is given, packed when `q_offsets` is, else batched. All pointers
/// are to the GPU's memory; run.py has the same members in the same order.
struct seqmix_gpu_call {
  const void *q, *k, *v;
  void* o;
  float* lse;                                 // [B, H, T] dense, packed [H, T]; may be null
  const std::int32_t* lengths;                // [B]
  const std::int32_t *q_offsets, *k_offsets;  // [B + 1]
  std::int64_t B, T, S, H, HK, D;             // packed: B sequences, T and S are totals
  std::int64_t q_strides[4], k_strides[4], v_strides[4], o_strides[4];  // elements, [B, T, H, D]
  std::int64_t max_q, max_k;
  double scale;  // 0: D^-0.5
  std::int32_t bf16, causal, ordinal;
  void* stream;
};

namespace {

thread_local std::string text;  // what the functions below return

/// Calls op(q, k and v or a kv_view, o, options, context) with the views of `c`.
template <class T>
void with_views(const seqmix_gpu_call& c, const auto& op) {
  using namespace seqmix;
  const device gpu{device_kind::cuda, c.ordinal};
  const auto strides = [](const std::int64_t(&s)[4]) {
    return index_list<4>(s[0], s[1], s[2], s[3]);
  };
  const std::int64_t batch = c.q_offsets == nullptr ? c.B : 1;
  const tensor_view<const T, 4> q(static_cast<const T*>(c.q), {batch, c.T, c.H, c.D},
                                  strides(c.q_strides), gpu);
  const tensor_view<const T, 4> k(static_cast<const T*>(c.k), {batch, c.S, c.HK, c.D},
                                  strides(c.k_strides), gpu);
  const tensor_view<const T, 4> v(static_cast<const T*>(c.v), {batch, c.S, c.HK, c.D},
                                  strides(c.v_strides), gpu);
  const tensor_view<T, 4> o(static_cast<T*>(c.o), {batch, c.T, c.H, c.D}, strides(c.o_strides),
                            gpu);

  softmax_attention_options options{.causal = c.causal != 0};
  if (c.scale != 0) {
    options.scale = c.scale;
  }
  if (c.lse != nullptr) {
    options.lse = tensor_view<float, 3>(c.lse, {batch, c.H, c.T}, gpu);
  }
  const context ctx{.device = device_policy::cuda, .cuda_stream = c.stream};
  const auto indices = [&](const std::int32_t* p, std::int64_t n) {
    return tensor_view<const std::int32_t, 1>(p, n, gpu);
  };
  if (c.lengths != nullptr) {
    op(q, kv_view(k, v, {.lengths = indices(c.lengths, c.B)}), o, options, ctx);
  } else if (c.q_offsets != nullptr) {
    options.varlen = {.q_offsets = indices(c.q_offsets, c.B + 1),
                      .k_offsets = indices(c.k_offsets, c.B + 1),
                      .max_q = c.max_q,
                      .max_k = c.max_k};
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

void with_views_of_type(const seqmix_gpu_call& c, const auto& op) {
  if (c.bf16 != 0) {
    with_views<seqmix::bf16>(c, op);
  } else {
    with_views<seqmix::f16>(c, op);
  }
}

}  // namespace

/// Queues the call `repeats` times. Null, or what is wrong with it, valid until the thread's next
/// call.
SEQMIX_GPU_EXPORT const char* seqmix_gpu_attention(const seqmix_gpu_call* call,
                                                   std::int64_t repeats) {
  try {
    with_views_of_type(*call, [&](const auto&... arguments) {
      for (std::int64_t i = 0; i < repeats; ++i) {
        seqmix::softmax_attention(arguments...);
      }
    });
    return nullptr;
  } catch (const std::exception& e) {
    text = e.what();
    return text.c_str();
  }
}

/// The dispatch report of the call, or what is wrong with it.
SEQMIX_GPU_EXPORT const char* seqmix_gpu_explain(const seqmix_gpu_call* call) {
  try {
    with_views_of_type(*call, [](const auto&... arguments) {
      text = seqmix::softmax_attention.explain(arguments...).text();
    });
  } catch (const std::exception& e) {
    text = e.what();
  }
  return text.c_str();
}

SEQMIX_GPU_EXPORT const char* seqmix_gpu_version() { return SEQMIX_VERSION_STRING; }
