// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

#include "params.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The kernels that serve a call: the library's own, or those of a unit that brings functors.
struct attention_kernels {
  /// The largest number of query rows a KV head that the decode kernel takes.
  std::int32_t decode_rows;
  bool score_functor;
  bool mask_functor;
  /// Launch on the current device, of this compute capability, and on `stream`; a cudaError_t. The
  /// functors are those of the problem.
  int (*prefill)(const attention_params&, const softmax_attention_problem&, int major,
                 void* stream);
  int (*decode)(const attention_params&, const softmax_attention_problem&, int major, void* stream);
  /// Whether prefill of tensors on a device goes through the copy engine of such a GPU, where they
  /// allow it.
  bool (*boxes)(const softmax_attention_problem&, int major);
  /// Whether there are kernels for a compute capability.
  bool (*serves)(int major, int minor);
};

/// What the CUDA implementation answers for a call, device and host tensors alike.
dispatch::offer query_attention(const softmax_attention_problem& p, const context& ctx,
                                const attention_kernels& kernels);

/// Runs a call that was accepted: tensors on a device at once and asynchronously, host tensors by
/// way of a copy on the current device.
detail::violation run_attention(const softmax_attention_problem& p, const context& ctx,
                                std::byte* scratch, const attention_kernels& kernels);

}  // namespace cuda

SEQMIX_END_NAMESPACE
