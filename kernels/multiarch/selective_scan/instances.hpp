// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/selective_state_update/problem.hpp>

// The scan by compute type and by kind of number, and its steps by compute type.
// instances_*.cpp define those of `SEQMIX_MULTIARCH_ISA`, which is the name of a namespace, once
// per instruction set.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

using scan = dispatch::implementation<selective_scan_problem>;
using scan_update = dispatch::implementation<selective_state_update_problem>;

namespace avx2 {
extern const scan* const scans[2][2];  // [in double][complex]
extern const scan_update* const scan_updates[2];
}  // namespace avx2
namespace avx512 {
extern const scan* const scans[2][2];
extern const scan_update* const scan_updates[2];
}  // namespace avx512

}  // namespace multiarch

SEQMIX_END_NAMESPACE
