// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/softmax_attention/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

const attention flash_f32 =
    detail::flash_attention_entry<float, float, float, float, simd::default_arch>;
const attention flash_f64 =
    detail::flash_attention_entry<double, double, double, double, simd::default_arch>;

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
