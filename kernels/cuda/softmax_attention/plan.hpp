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
  const char* problem = nullptr;  ///< why the pinned algorithm cannot be taken

  attention_plan(const softmax_attention_problem& p, const context& ctx,
                 const attention_kernels& kernels) noexcept;

  const char* name() const noexcept {
    return prefill && decode ? "prefill and decode" : prefill ? "prefill" : "decode";
  }
};

/// Whether queries, keys and values allow copies of 16 bytes, as the faster kernels want them.
bool in_vectors(const softmax_attention_problem& p) noexcept;

/// The launch parameters of a call whose tensors, offsets included, are on one device.
attention_params params_of(const softmax_attention_problem& p, const attention_plan& plan) noexcept;

}  // namespace cuda

SEQMIX_END_NAMESPACE
