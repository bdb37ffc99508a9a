// SPDX-License-Identifier: Apache-2.0
#define SEQMIX_TEST_COMPILES_KERNELS
#include "softmax_attention.hpp"

SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_ATTENTION_MIXED();
}  // namespace detail
SEQMIX_END_NAMESPACE
