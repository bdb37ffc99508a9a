// SPDX-License-Identifier: Apache-2.0
#define SEQMIX_TEST_COMPILES_KERNELS
#include "recurrence_kernels.hpp"

SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_RECURRENCE_KERNELS(, double);
}  // namespace detail
SEQMIX_END_NAMESPACE
