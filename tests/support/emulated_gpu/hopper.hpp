// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "barriers.hpp"
#include "block.hpp"
#include "products.hpp"
#include "shared_memory.hpp"
#include "tensor_copies.hpp"
#include "warp.hpp"

// What a block of threads has on sm_90a beside its warps, for kernels whose instructions are those
// of common/ in this folder.

// There is one of a variable in a block's shared memory: all its threads are one of the host's.
#undef __shared__
#define __shared__ constinit thread_local
#define __CUDA_ARCH_FEAT_SM90_ALL

namespace seqmix_test {

/// The GPU that the runtime finds, and what decides about the order of everything.
struct emulated_gpu {
  int processors = 1;
  std::uint64_t seed = 1;
};
inline emulated_gpu this_gpu;

struct hopper_block {
  shared_memory_window shared;
  memory_barriers in_memory;
  numbered_barriers numbered;
  register_file registers;
  std::vector<warp_products> of_warps;
  std::vector<std::vector<product>> of_warpgroups;

  warp_products& products() { return of_warps[emulated_block::current().warp()]; }
  std::vector<product>& products_of_warpgroup() {
    return of_warpgroups[emulated_block::current().warp() / 4];
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
      of_warps.clear();
      for (unsigned warp = 0; warp < threads / 32; ++warp) {
        of_warps.emplace_back(warp);
      }
      of_warpgroups.assign(threads / 128, {});
      emulated_block(threads, this_gpu.seed + 1000 * blockIdx.x).run(body);
      in_memory.check_idle();
    }
  }
};
inline hopper_block this_hopper;

}  // namespace seqmix_test

inline void __syncthreads() {
  seqmix_test::this_hopper.numbered.sync(
      0, static_cast<int>(seqmix_test::emulated_block::current().thread_count()));
}
