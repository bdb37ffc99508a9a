// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <seqmix/core/context.hpp>
#include <seqmix/core/error.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Host scratch for `full_check`.
std::size_t full_check_bytes(const softmax_attention_problem& p, const context& ctx) noexcept;

/// Under `check_level::full` reads offsets and lengths back from the current device and checks them
/// as those of host tensors are checked; waits for the stream. Else does nothing.
detail::violation full_check(const softmax_attention_problem& p, const context& ctx,
                             std::byte* scratch);

}  // namespace cuda

SEQMIX_END_NAMESPACE
