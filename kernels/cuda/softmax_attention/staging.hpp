// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <seqmix/core/context.hpp>
#include <seqmix/core/error.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

#include "staging_policy.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The GPU that host tensors go to: the calling thread's current one. Creates no context.
int staging_ordinal() noexcept;

/// The size of a call on host tensors.
staging_work work_of(const softmax_attention_problem& p, const context& ctx) noexcept;

/// Whether a GPU, which the process has a context of or not, has the memory for a call's tensors.
bool fits(const softmax_attention_problem& p, int ordinal, bool has_context) noexcept;

/// Host scratch for `run_staged`.
std::size_t staging_bytes(const softmax_attention_problem& p) noexcept;

/// Copies host tensors to the current device, calls `launch` with the same problem there, copies
/// the results back, and returns when they have arrived. Tensors without gaps are copied as they
/// lie, others through scratch, so that what lies between an output's elements is not written.
detail::violation run_staged(
    const softmax_attention_problem& p, const context& ctx, std::byte* scratch,
    const std::function<detail::violation(const softmax_attention_problem&)>& launch);

}  // namespace cuda

SEQMIX_END_NAMESPACE
