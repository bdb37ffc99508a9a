// SPDX-License-Identifier: Apache-2.0
#include "stream_memory.hpp"

#include <cuda_runtime_api.h>

#include <cstdint>
#include <limits>
#include <mutex>
#include <seqmix/core/workspace.hpp>

#include "gpu.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

/// The pools, one for each GPU, made when they are first wanted; they live as long as the process.
struct pool_list {
  std::mutex mutex;
  cudaMemPool_t pools[gpu_list::most] = {};
  detail::release_hook hook{.release = []() noexcept { all().trim(); }};

  pool_list() noexcept { detail::add_release_hook(hook); }
  static pool_list& all() {
    static pool_list list;
    return list;
  }

  /// Null where there can be none.
  cudaMemPool_t of(int ordinal) noexcept {
    const std::lock_guard lock(mutex);
    if (pools[ordinal] == nullptr) {
      // Nothing of this belongs to a stream, captured or not.
      cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
      (void)cudaThreadExchangeStreamCaptureMode(&mode);
      pools[ordinal] = make(ordinal);
      (void)cudaThreadExchangeStreamCaptureMode(&mode);
    }
    return pools[ordinal];
  }
  static cudaMemPool_t make(int ordinal) noexcept {
    cudaMemPoolProps what{};
    what.allocType = cudaMemAllocationTypePinned;
    what.location = {cudaMemLocationTypeDevice, ordinal};
    cudaMemPool_t pool = nullptr;
    if (cudaMemPoolCreate(&pool, &what) != cudaSuccess) {
      (void)cudaGetLastError();
      return nullptr;
    }
    std::uint64_t kept = std::numeric_limits<std::uint64_t>::max();
    (void)cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept);
    return pool;
  }
  void trim() noexcept {
    const std::lock_guard lock(mutex);
    for (const cudaMemPool_t pool : pools) {
      if (pool != nullptr) {
        (void)cudaMemPoolTrimTo(pool, 0);
      }
    }
  }
};

}  // namespace

stream_memory::stream_memory(int ordinal, std::size_t bytes, void* stream) noexcept
    : stream_(stream) {
  const cudaMemPool_t pool = bytes > 0 ? pool_list::all().of(ordinal) : nullptr;
  if (pool != nullptr &&
      cudaMallocFromPoolAsync(&data_, bytes, pool, static_cast<cudaStream_t>(stream)) !=
          cudaSuccess) {
    (void)cudaGetLastError();
    data_ = nullptr;
  }
}

stream_memory::~stream_memory() {
  if (data_ != nullptr) {
    (void)cudaFreeAsync(data_, static_cast<cudaStream_t>(stream_));
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
