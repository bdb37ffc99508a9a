// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

// The attention of bf16 by AMX, by the output's type. amx_instances.cpp defines it.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::amx {

using attention = dispatch::implementation<softmax_attention_problem>;

extern const attention tiles_bf16, tiles_f32;

}  // namespace multiarch::amx

SEQMIX_END_NAMESPACE
