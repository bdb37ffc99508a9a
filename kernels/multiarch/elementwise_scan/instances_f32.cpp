// SPDX-License-Identifier: Apache-2.0
#include "scans_of.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

constinit const elementwise_scans scans_f32 = scans_of<float, float, simd::default_arch>();

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
