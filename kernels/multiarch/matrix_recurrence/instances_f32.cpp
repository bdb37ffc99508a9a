// SPDX-License-Identifier: Apache-2.0
#include "table_of.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

constinit const recurrence_table recurrences_f32 = table_of<float, simd::default_arch>();

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
