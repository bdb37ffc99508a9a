// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/softmax_attention/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

// Queries and outputs in float over a cache of a shorter type.
const attention flash_f32_over_f16 =
    detail::flash_attention_entry<float, f16, f16, float, simd::default_arch>;
const attention flash_f32_over_bf16 =
    detail::flash_attention_entry<float, bf16, bf16, float, simd::default_arch>;
const attention flash_f32_over_i8 =
    detail::flash_attention_entry<float, std::int8_t, std::int8_t, float, simd::default_arch>;

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
