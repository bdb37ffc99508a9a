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

inline void store_box_if(bool issue, const CUtensorMap& map, std::uint32_t from, int element,
                         int head, int token, int batch) {
  if (issue) {
    seqmix_test::this_block.stores.issue(map, from, {element, head, token, batch});
  }
}
inline void stores_commit() {
  seqmix_test::this_block.stores.commit(seqmix_test::this_block.shared);
}
inline void stores_wait_read() { seqmix_test::this_block.stores.wait(); }

}  // namespace cuda

SEQMIX_END_NAMESPACE
