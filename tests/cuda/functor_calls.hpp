// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>

#include "support/attention_problem.hpp"

namespace seqmix_test {

/// softmax_attention with a score functor that nvcc compiles: soft-capped, falling with the
/// distance, different for each head and sequence. `options` as the problem has them.
void run_scored(attention_problem& p, const seqmix::context& ctx);

/// Its oracle, on host tensors.
void run_scored_naive(attention_problem& p);

}  // namespace seqmix_test
