// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include "backend.hpp"
#include "sm80/launch.cuh"

// For a .cu file of yours: softmax_attention with a score functor, on a GPU. The functor is
// compiled into the kernel, for the architectures that your file is compiled for (sm_80 or later);
// link seqmix::cuda.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

template <class T, class Score>
inline constexpr attention_kernels scored_kernels{
    .decode_rows = 0,
    .score_functor = true,
    .prefill =
        [](const attention_params& p, scalar_type, std::int64_t dim, int, const void* score,
           void* stream) {
          const functor_score<Score> s{*static_cast<const Score*>(score)};
          return static_cast<int>(dim == 64 ? launch_prefill_with<portable, T, 64>(p, s, stream)
                                            : launch_prefill_with<portable, T, 128>(p, s, stream));
        },
    .decode = nullptr,
    .serves = [](int major, int) { return major >= 8; },
};

}  // namespace cuda

namespace detail {

template <class T, class Score>
  requires std::same_as<T, f16> || std::same_as<T, bf16>
struct cuda_functor_attention<T, Score, void> {
  static constexpr dispatch::implementation<softmax_attention_problem> entry{
      "cuda", dispatch::processor::cuda,
      [](const softmax_attention_problem& p, const context& ctx) {
        return cuda::query_attention(p, ctx, cuda::scored_kernels<T, Score>);
      },
      [](const softmax_attention_problem& p, const context& ctx, std::byte* scratch) {
        return cuda::run_attention(p, ctx, scratch, cuda::scored_kernels<T, Score>);
      }};
};

/// The kernels have no other types, and no mask functors: the answer says so.
template <class T, class Score, class Mask>
  requires std::same_as<T, float> || std::same_as<T, double> || (!std::is_void_v<Mask>)
struct cuda_functor_attention<T, Score, Mask> {
  static constexpr dispatch::implementation<softmax_attention_problem> entry{
      "cuda", dispatch::processor::cuda, [](const softmax_attention_problem&, const context&) {
        dispatch::offer answer;
        answer.lacks = std::is_void_v<Mask> ? name(scalar_type_of<T>) : "mask_functor";
        return answer;
      }};
};

}  // namespace detail

SEQMIX_END_NAMESPACE
