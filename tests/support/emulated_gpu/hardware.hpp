// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "barriers.hpp"
#include "block.hpp"
#include "fragments.hpp"
#include "products.hpp"
#include "shared_memory.hpp"
#include "tensor_copies.hpp"
#include "thread_copies.hpp"
#include "warp.hpp"

// What a block of threads has on a GPU, up to sm_90a, beside its warps, for kernels whose
// instructions are those of common/ in this folder.

// There is one of a variable in a block's shared memory: all its threads are one of the host's.
#undef __shared__
#define __shared__ constinit thread_local
#define __CUDA_ARCH_FEAT_SM90_ALL

namespace seqmix_test {

/// The GPU that the runtime finds, what decides about the order of everything, and all that threads
/// may copy from; nothing: that is not known.
struct emulated_gpu {
  int processors = 1;
  std::uint64_t seed = 1;
  std::vector<std::span<const std::byte>> readable = {};
};
inline emulated_gpu this_gpu;

struct block_hardware {
  shared_memory_window shared;
  memory_barriers in_memory;
  numbered_barriers numbered;
  register_file registers;
  thread_copies copies;
  tensor_stores stores;
  std::vector<warp_fragments> fragments_of_warps;
  std::vector<warp_products> products_of_warps;
  std::vector<std::vector<product>> products_of_warpgroups;

  warp_fragments& fragments() { return fragments_of_warps[emulated_block::current().warp()]; }
  warp_products& products() { return products_of_warps[emulated_block::current().warp()]; }
  std::vector<product>& products_of_warpgroup() {
    return products_of_warpgroups[emulated_block::current().warp() / 4];
  }

  /// Calls `body` in all threads of all blocks, which share `memory`, one block after the other.
  void launch(unsigned blocks, unsigned threads, std::byte* memory, std::size_t bytes,
              const std::function<void()>& body) {
    gridDim.x = blocks;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
      shared.reset(memory, bytes, threads);
      in_memory.reset();
      numbered.reset();
      registers.reset(threads);
      copies.reset(threads);
      stores.reset(threads);
      fragments_of_warps.resize(threads / 32);
      products_of_warps.clear();
      for (unsigned warp = 0; warp < threads / 32; ++warp) {
        products_of_warps.emplace_back(warp);
      }
      products_of_warpgroups.assign(threads / 128, {});
      emulated_block(threads, this_gpu.seed + 1000 * blockIdx.x).run(body);
      in_memory.check_idle();
    }
  }
};
inline block_hardware this_block;

}  // namespace seqmix_test

inline void __syncthreads() {
  seqmix_test::this_block.numbered.sync(
      0, static_cast<int>(seqmix_test::emulated_block::current().thread_count()));
}
inline bool __syncthreads_or(bool x) {
  return seqmix_test::this_block.numbered.sync(
      0, static_cast<int>(seqmix_test::emulated_block::current().thread_count()), x);
}
