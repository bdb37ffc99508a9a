// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/selective_scan/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

namespace {

template <class C, bool Complex>
constexpr const scan* entry = &detail::selective_scan_list<C, simd::default_arch, Complex>[0];

}  // namespace

constinit const scan* const scans[2][2] = {{entry<float, false>, entry<float, true>},
                                           {entry<double, false>, entry<double, true>}};

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
