// SPDX-License-Identifier: Apache-2.0
// The kernels of the selective scan and of its step, which selective_scan_all.cpp compiles once for
// all their tests.
#pragma once

#include <seqmix/ops/selective_state_update/selective_state_update.hpp>

// clang-format off
#define SEQMIX_TEST_SCAN_KERNELS(EXTERN)                                          \
  EXTERN template struct selective_scan_cpu<float, simd::default_arch, false>;    \
  EXTERN template struct selective_scan_cpu<float, simd::default_arch, true>;     \
  EXTERN template struct selective_scan_cpu<double, simd::default_arch, false>;   \
  EXTERN template struct selective_scan_cpu<double, simd::default_arch, true>;    \
  EXTERN template struct selective_state_update_cpu<float, simd::default_arch>;   \
  EXTERN template struct selective_state_update_cpu<double, simd::default_arch>
// clang-format on

#ifndef SEQMIX_TEST_COMPILES_KERNELS
SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_SCAN_KERNELS(extern);
}  // namespace detail
SEQMIX_END_NAMESPACE
#endif
