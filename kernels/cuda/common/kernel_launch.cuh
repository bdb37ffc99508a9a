// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A block's shared memory beside what it declares: for this launch, and the most of any.
struct shared_size {
  int bytes;
  int most;

  shared_size(int of_all) : bytes(of_all), most(of_all) {}
  shared_size(int of_this, int of_any) : bytes(of_this), most(of_any) {}
};

/// Launches a kernel on the current device; a block's shared memory beyond 48 KiB has to be allowed
/// once for each kernel and device.
template <auto Kernel, class... Arguments>
cudaError_t launch_kernel(std::int64_t blocks, int threads, shared_size shared, cudaStream_t stream,
                          Arguments&... arguments) {
  static std::atomic<std::uint64_t> allowed{0};
  int ordinal = 0;
  if (const cudaError_t e = cudaGetDevice(&ordinal); e != cudaSuccess) {
    return e;
  }
  const std::uint64_t bit = ordinal < 64 ? std::uint64_t{1} << ordinal : 0;
  if ((allowed.load(std::memory_order_relaxed) & bit) == 0) {
    const cudaError_t e =
        cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared.most);
    if (e != cudaSuccess) {
      return e;
    }
    allowed.fetch_or(bit, std::memory_order_relaxed);
  }
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  return cudaLaunchKernel(reinterpret_cast<const void*>(Kernel),
                          dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)),
                          pointers, static_cast<std::size_t>(shared.bytes), stream);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
