// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

#include "backend.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Which kernels a call takes. Sequences of few rows go to the decode kernel, the others to
/// prefill, each by its own length: a packed call can need both.
struct attention_plan {
  bool prefill = false;
  bool decode = false;
  std::int32_t decode_rows = 0;
  std::int32_t splits = 1;        ///< the most of any sequence that is decoded; 1 of packed ones
  const char* problem = nullptr;  ///< why the pinned algorithm cannot be taken

  attention_plan(const softmax_attention_problem& p, const context& ctx,
                 const attention_kernels& kernels) noexcept;

  const char* name() const noexcept {
    return prefill && decode ? "prefill and decode" : prefill ? "prefill" : "decode";
  }
};

/// The first of q, k and v whose rows cannot be copied in chunks of 16 bytes; null when all can.
const char* not_in_vectors(const softmax_attention_problem& p) noexcept;

/// The first of them that the copy engine of sm_90 cannot read, or o when it is not whole chunks of
/// 16 bytes; null for none.
const char* not_in_boxes(const softmax_attention_problem& p) noexcept;

/// The launch parameters of a call whose tensors, offsets included, are on one device. Whether the
/// copy engine reads them (`mapped`) is left to who knows the GPU.
attention_params params_of(const softmax_attention_problem& p, const attention_plan& plan) noexcept;

}  // namespace cuda

SEQMIX_END_NAMESPACE
