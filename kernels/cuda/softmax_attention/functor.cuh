// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include "../common/gpu.hpp"
#include "backend.hpp"
#include "sm80/launch.cuh"
#include "sm90/launch.cuh"

// For a .cu file of yours: softmax_attention with a score functor, a mask functor, or both, on a
// GPU. They are compiled into the kernels, for the architectures that your file is compiled for
// (sm_80 or later; sm_90a for Hopper's own kernel); link seqmix::cuda.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Fewer widths than the library has for itself, and only one for views that cannot be moved in
/// chunks of 16 bytes: each kernel is compiled for each functor.
using functor_widths = std::integer_sequence<int, 64, 128, largest_attention_width>;

template <class F>
functor_slot<F> functor_at(const void* f) {
  if constexpr (std::is_void_v<F>) {
    return {};
  } else {
    return *static_cast<const F*>(f);
  }
}

template <class Score, class Mask>
functor_score<Score, Mask> functors_of(const softmax_attention_problem& p) {
  return {{}, functor_at<Score>(p.score), functor_at<Mask>(p.mask)};
}

template <class T, class Score, class Mask>
inline constexpr attention_kernels functor_kernels{
    .decode_rows = 64,
    .score_functor = !std::is_void_v<Score>,
    .mask_functor = !std::is_void_v<Mask>,
    .prefill = [](const attention_params& p, const softmax_attention_problem& call, int,
                  void* stream) -> int {
      const auto score = functors_of<Score, Mask>(call);
      const auto on = static_cast<cudaStream_t>(stream);
      return with_width(functor_widths{}, p, [&]<int W>() -> int {
        if (p.mapped) {
          return launch_hopper_prefill_with<T, W>(p, score, stream);
        }
        return p.vectors
                   ? launch_prefill_as<portable, T, W, true>(p, score, on)
                   : launch_prefill_as<portable, T, largest_attention_width, false>(p, score, on);
      });
    },
    .decode = [](const attention_params& p, const softmax_attention_problem& call, int,
                 void* stream) -> int {
      const auto score = functors_of<Score, Mask>(call);
      const auto on = static_cast<cudaStream_t>(stream);
      return with_width(functor_widths{}, p, [&]<int W>() -> int {
        return p.vectors
                   ? launch_decode_as<portable, T, W, true>(p, score, on)
                   : launch_decode_as<portable, T, largest_attention_width, false>(p, score, on);
      });
    },
    .boxes =
        [](const softmax_attention_problem& call, int major) {
          const current_gpu guard(call.q.memory.ordinal);
          return major == 9 && has_hopper_code<T, 64>(functors_of<Score, Mask>(call));
        },
    .serves = [](int major, int) { return major >= 8; },
};

}  // namespace cuda

namespace detail {

template <class T, class Score, class Mask>
  requires std::same_as<T, f16> || std::same_as<T, bf16>
struct cuda_functor_attention<T, Score, Mask> {
  static constexpr dispatch::implementation<softmax_attention_problem> entry{
      "cuda", dispatch::processor::cuda,
      [](const softmax_attention_problem& p, const context& ctx) {
        return cuda::query_attention(p, ctx, cuda::functor_kernels<T, Score, Mask>);
      },
      [](const softmax_attention_problem& p, const context& ctx, std::byte* scratch) {
        return cuda::run_attention(p, ctx, scratch, cuda::functor_kernels<T, Score, Mask>);
      }};
};

/// The kernels have no other types: the answer says so.
template <class T, class Score, class Mask>
  requires std::same_as<T, float> || std::same_as<T, double>
struct cuda_functor_attention<T, Score, Mask> {
  static constexpr dispatch::implementation<softmax_attention_problem> entry{
      "cuda", dispatch::processor::cuda, [](const softmax_attention_problem&, const context&) {
        dispatch::offer answer;
        answer.lacks = name(scalar_type_of<T>);
        return answer;
      }};
};

}  // namespace detail

SEQMIX_END_NAMESPACE
