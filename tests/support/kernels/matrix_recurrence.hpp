// SPDX-License-Identifier: Apache-2.0
// The kernels of the recurrences, which matrix_recurrence_*.cpp compile once for all their tests.
#pragma once

#include <seqmix/ops/matrix_recurrence/cpu.hpp>

// clang-format off
#define SEQMIX_TEST_RECURRENCE_KERNELS(EXTERN, C)                                             \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::none,      \
                                               state_update::none>;                           \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::scalar,    \
                                               state_update::none>;                           \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::per_key,   \
                                               state_update::none>;                           \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::none,      \
                                               state_update::delta>;                          \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::scalar,    \
                                               state_update::delta>;                          \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::per_key,   \
                                               state_update::delta>;                          \
  EXTERN template struct matrix_recurrence_cpu<C, simd::default_arch, state_decay::per_key,   \
                                               state_update::general>
// clang-format on

#ifndef SEQMIX_TEST_COMPILES_KERNELS
SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_RECURRENCE_KERNELS(extern, float);
SEQMIX_TEST_RECURRENCE_KERNELS(extern, double);
}  // namespace detail
SEQMIX_END_NAMESPACE
#endif
