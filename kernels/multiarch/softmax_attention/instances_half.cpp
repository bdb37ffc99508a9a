// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/softmax_attention/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

const attention flash_f16 = detail::flash_attention_entry<f16, f16, f16, f16, simd::default_arch>;
const attention flash_bf16 =
    detail::flash_attention_entry<bf16, bf16, bf16, bf16, simd::default_arch>;

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
