// SPDX-License-Identifier: Apache-2.0
// The kernels of softmax_attention, which softmax_attention_*.cpp compile once for all its tests.
#pragma once

#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include "support/any_mask.hpp"

// clang-format off
#define SEQMIX_TEST_FLASH(EXTERN, TQ, TK, TV, TO, MASK)                                            \
  EXTERN template struct flash_attention_cpu<TQ, TK, TV, TO, simd::default_arch, void, MASK>;      \
  EXTERN template void naive_softmax_attention<TQ, TK, TV, TO, simd::default_arch, void, MASK>(    \
      const softmax_attention_problem&)
#define SEQMIX_TEST_ATTENTION_WIDE(EXTERN)                                                         \
  SEQMIX_TEST_FLASH(EXTERN, float, float, float, float, void);                                     \
  SEQMIX_TEST_FLASH(EXTERN, double, double, double, double, void)
#define SEQMIX_TEST_ATTENTION_MASKED(EXTERN)                                                       \
  SEQMIX_TEST_FLASH(EXTERN, float, float, float, float, seqmix_test::any_mask)
#define SEQMIX_TEST_ATTENTION_HALF(EXTERN)                                                         \
  SEQMIX_TEST_FLASH(EXTERN, bf16, bf16, bf16, bf16, void);                                         \
  SEQMIX_TEST_FLASH(EXTERN, f16, f16, f16, f16, void)
#define SEQMIX_TEST_ATTENTION_MIXED(EXTERN)                                                        \
  SEQMIX_TEST_FLASH(EXTERN, float, bf16, bf16, float, void);                                       \
  SEQMIX_TEST_FLASH(EXTERN, float, bf16, f16, float, void);                                        \
  SEQMIX_TEST_FLASH(EXTERN, float, f16, f16, float, void)
// clang-format on

#ifndef SEQMIX_TEST_COMPILES_KERNELS
SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_ATTENTION_WIDE(extern);
SEQMIX_TEST_ATTENTION_MASKED(extern);
SEQMIX_TEST_ATTENTION_HALF(extern);
SEQMIX_TEST_ATTENTION_MIXED(extern);
}  // namespace detail
SEQMIX_END_NAMESPACE
#endif
