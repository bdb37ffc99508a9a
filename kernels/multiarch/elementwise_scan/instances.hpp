// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/elementwise_scan/problem.hpp>

// The scans by compute type and form. instances_*.cpp define those of `SEQMIX_MULTIARCH_ISA`, which
// is the name of a namespace, once per instruction set.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

using elementwise_scan = dispatch::implementation<scan_problem>;
using elementwise_scans = std::array<elementwise_scan, scan_form_count>;

namespace avx2 {
extern const elementwise_scans scans_f32, scans_f64, scans_f16, scans_bf16;
}
namespace avx512 {
extern const elementwise_scans scans_f32, scans_f64, scans_f16, scans_bf16;
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
