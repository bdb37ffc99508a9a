// SPDX-License-Identifier: Apache-2.0
#define SEQMIX_TEST_COMPILES_KERNELS
#include "elementwise_scan.hpp"

SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_SCANS_HALF();
}  // namespace detail
SEQMIX_END_NAMESPACE
