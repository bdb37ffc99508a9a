// SPDX-License-Identifier: Apache-2.0
#include "device_arena.hpp"

#include <cuda_runtime_api.h>

#include <seqmix/core/workspace.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

detail::release_hook hook{.release = []() noexcept { device_arena::local().clear(); }};

}  // namespace

device_arena& device_arena::local() {
  // The hook is added where it is first of use: no initialiser that the linker could drop.
  static const bool added = (detail::add_release_hook(hook), true);
  (void)added;
  thread_local device_arena arena;
  return arena;
}

std::byte* device_arena::reserve(int ordinal, std::size_t bytes, int& status) {
  block& b = blocks_[ordinal];
  if (b.size < bytes) {
    if (b.memory != nullptr) {
      (void)cudaFree(b.memory);
    }
    b = {};
    status = cudaMalloc(&b.memory, bytes);
    if (status != cudaSuccess) {
      b = {};
      return nullptr;
    }
    b.size = bytes;
  }
  return static_cast<std::byte*>(b.memory);
}

void device_arena::clear() noexcept {
  for (int i = 0; i < gpu_list::most; ++i) {
    if (blocks_[i].memory != nullptr) {
      const current_gpu guard(i);
      (void)cudaFree(blocks_[i].memory);
      blocks_[i] = {};
    }
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
