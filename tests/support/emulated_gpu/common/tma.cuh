// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <cstdint>

#include "barrier.cuh"

// The copies of kernels/cuda/common/tma.cuh.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline void copy_box(std::uint32_t to, const CUtensorMap& map, shared_barrier barrier, int element,
                     int head, int token, int batch) {
  auto& block = seqmix_test::this_block;
  seqmix_test::copy_later(block.shared, block.in_memory, to, map, barrier.address,
                          {element, head, token, batch});
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
