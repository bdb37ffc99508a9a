// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "ptx.cuh"

// The launches of kernels/cuda/common/kernel_launch.cuh.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

struct shared_size {
  int bytes;

  shared_size(int of_all) : bytes(of_all) {}
  shared_size(int of_this, int) : bytes(of_this) {}
};

template <auto Kernel, class... Arguments>
cudaError_t launch_kernel(std::int64_t blocks, int threads, shared_size shared, cudaStream_t,
                          Arguments&... arguments) {
  seqmix_test::this_block.launch(static_cast<unsigned>(blocks), static_cast<unsigned>(threads),
                                 reinterpret_cast<std::byte*>(shared_memory),
                                 static_cast<std::size_t>(shared.bytes),
                                 [&] { Kernel(arguments...); });
  return cudaSuccess;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE

namespace seqmix_test {

/// What ends a block of threads that all run `body`; empty when it ends by itself.
template <class Body>
std::string emulated_fault(unsigned threads, std::uint64_t seed, std::size_t shared_bytes,
                           Body body) {
  this_gpu.seed = seed;
  try {
    this_block.launch(1, threads, reinterpret_cast<std::byte*>(seqmix::cuda::shared_memory),
                      shared_bytes, body);
  } catch (const kernel_fault& fault) {
    return fault.what();
  }
  return {};
}

}  // namespace seqmix_test
