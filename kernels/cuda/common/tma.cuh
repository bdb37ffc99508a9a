// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <cstdint>

#include "barrier.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Copies a box of a tensor of four axes, whose corner is given from the innermost axis out, to
/// shared memory. The barrier counts its bytes; what lies outside the tensor is zero.
__device__ __forceinline__ void copy_box(std::uint32_t to, const CUtensorMap& map,
                                         shared_barrier barrier, int element, int head, int token,
                                         int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];\n" ::"r"(to),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(barrier.address), "r"(element), "r"(head),
      "r"(token), "r"(batch)
      : "memory");
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
