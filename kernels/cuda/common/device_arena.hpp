// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "gpu.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// One grow-only block of device memory for each GPU, of the calling thread.
/// `release_thread_memory` frees them.
class device_arena {
 public:
  static device_arena& local();

  /// The block of the current device, of at least `bytes`; null, and a cudaError_t, when there is
  /// not enough memory. What it held is lost when it grows.
  std::byte* reserve(int ordinal, std::size_t bytes, int& status);
  void clear() noexcept;
  std::size_t size(int ordinal) const noexcept { return blocks_[ordinal].size; }

  device_arena() = default;
  device_arena(const device_arena&) = delete;
  device_arena& operator=(const device_arena&) = delete;
  ~device_arena() { clear(); }

 private:
  struct block {
    void* memory = nullptr;
    std::size_t size = 0;
  };
  block blocks_[gpu_list::most];
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
