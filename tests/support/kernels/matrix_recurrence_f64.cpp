// SPDX-License-Identifier: Apache-2.0
#define SEQMIX_TEST_COMPILES_KERNELS
#include "matrix_recurrence.hpp"

SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_RECURRENCE_KERNELS(, double);
}  // namespace detail
SEQMIX_END_NAMESPACE
