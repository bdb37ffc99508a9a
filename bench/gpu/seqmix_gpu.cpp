// SPDX-License-Identifier: Apache-2.0
// softmax_attention on device memory behind a C interface, for run.py, which has PyTorch's tensors.
#include "seqmix_gpu.hpp"

#define SEQMIX_GPU_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string text;  // what the functions below return

void with_views_of_type(const seqmix_gpu_call& c, const auto& op) {
  if (c.bf16 != 0) {
    seqmix_gpu::with_views<seqmix::bf16>(c, op);
  } else {
    seqmix_gpu::with_views<seqmix::f16>(c, op);
  }
}

}  // namespace

/// Queues the call `repeats` times. Null, or what is wrong with it, valid until the thread's next
/// call.
SEQMIX_GPU_EXPORT const char* seqmix_gpu_attention(const seqmix_gpu_call* call,
                                                   std::int64_t repeats) {
  try {
    if (call->functor != seqmix_gpu_no_functor) {
      seqmix_gpu::run_functor(*call, repeats);
      return nullptr;
    }
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
    if (call->functor != seqmix_gpu_no_functor) {
      text = seqmix_gpu::explain_functor(*call);
    } else {
      with_views_of_type(*call, [](const auto&... arguments) {
        text = seqmix::softmax_attention.explain(arguments...).text();
      });
    }
  } catch (const std::exception& e) {
    text = e.what();
  }
  return text.c_str();
}

/// How many bytes the caller's seqmix_gpu_call must have.
SEQMIX_GPU_EXPORT std::int64_t seqmix_gpu_call_bytes() { return sizeof(seqmix_gpu_call); }

SEQMIX_GPU_EXPORT const char* seqmix_gpu_version() { return SEQMIX_VERSION_STRING; }
