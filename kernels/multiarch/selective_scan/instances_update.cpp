// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/selective_state_update/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

constinit const scan_update* const scan_updates[2] = {
    &detail::selective_state_update_list<float, simd::default_arch>[0],
    &detail::selective_state_update_list<double, simd::default_arch>[0]};

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
