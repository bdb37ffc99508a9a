// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

// The kernels by element type. instances_*.cpp define those of `SEQMIX_MULTIARCH_ISA`, which is the
// name of a namespace, once per instruction set.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

using attention = dispatch::implementation<softmax_attention_problem>;

namespace avx2 {
extern const attention flash_f32, flash_f64, flash_f16, flash_bf16, flash_f32_over_f16,
    flash_f32_over_bf16, flash_f32_over_i8;
}
namespace avx512 {
extern const attention flash_f32, flash_f64, flash_f16, flash_bf16, flash_f32_over_f16,
    flash_f32_over_bf16, flash_f32_over_i8;
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
