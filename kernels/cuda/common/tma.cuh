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

/// The other way, by those threads that are to: without a branch, after which ptxas would take no
/// register for uniform. What lies outside the tensor is not written. Shared memory is read at some
/// later time, as it is after a fence.
__device__ __forceinline__ void store_box_if(bool issue, const CUtensorMap& map, std::uint32_t from,
                                             int element, int head, int token, int batch) {
  asm volatile(
      "{\n"
      ".reg .pred issue;\n"
      "setp.ne.u32 issue, %6, 0;\n"
      "@issue cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];\n"
      "}\n" ::"l"(reinterpret_cast<std::uint64_t>(&map)),
      "r"(from), "r"(element), "r"(head), "r"(token), "r"(batch), "r"(issue ? 1u : 0u)
      : "memory");
}
__device__ __forceinline__ void stores_commit() {
  asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}
/// Waits until this thread's stores have read shared memory.
__device__ __forceinline__ void stores_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;\n" ::: "memory");
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
