// SPDX-License-Identifier: Apache-2.0
// The kernels of the scans by monoids, which elementwise_scan_*.cpp compile once for all tests.
#pragma once

#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>

// clang-format off
#define SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, STEP)                                                 \
  EXTERN template struct scan_cpu<simd::default_arch,                                             \
                                  fixed_scan<scan_types<C, T>, simd::default_arch, STEP>>
#define SEQMIX_TEST_SCAN_FORMS(EXTERN, C, T)                                                      \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, affine_of<false>::step);                                    \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, affine_of<true>::step);                                     \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, complex_step);                                              \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, log_sum_exp_step);                                          \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, max_step);                                                  \
  SEQMIX_TEST_SCAN_FORM(EXTERN, C, T, sum_step)
#define SEQMIX_TEST_SCANS_WIDE(EXTERN)                                                            \
  SEQMIX_TEST_SCAN_FORMS(EXTERN, float, float);                                                   \
  SEQMIX_TEST_SCAN_FORMS(EXTERN, double, double)
#define SEQMIX_TEST_SCANS_HALF(EXTERN)                                                            \
  SEQMIX_TEST_SCAN_FORMS(EXTERN, float, bf16);                                                    \
  SEQMIX_TEST_SCAN_FORMS(EXTERN, float, f16)
// clang-format on

#ifndef SEQMIX_TEST_COMPILES_KERNELS
SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_SCANS_WIDE(extern);
SEQMIX_TEST_SCANS_HALF(extern);
}  // namespace detail
SEQMIX_END_NAMESPACE
#endif
