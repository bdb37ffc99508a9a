// SPDX-License-Identifier: Apache-2.0
#define SEQMIX_TEST_COMPILES_KERNELS
#include "selective_scan.hpp"

SEQMIX_BEGIN_NAMESPACE
namespace detail {
SEQMIX_TEST_SCAN_KERNELS();
}  // namespace detail
SEQMIX_END_NAMESPACE
