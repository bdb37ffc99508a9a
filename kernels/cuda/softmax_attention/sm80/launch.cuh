// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

#include "../launch.hpp"
#include "decode.cuh"
#include "prefill.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Launches a kernel on the current device; a block's shared memory beyond 48 KiB has to be allowed
/// once for each kernel and device.
template <auto Kernel, class... Arguments>
cudaError_t launch_kernel(std::int64_t blocks, int threads, int shared_bytes, cudaStream_t stream,
                          Arguments&... arguments) {
  static std::atomic<std::uint64_t> allowed{0};
  int ordinal = 0;
  if (const cudaError_t e = cudaGetDevice(&ordinal); e != cudaSuccess) {
    return e;
  }
  const std::uint64_t bit = ordinal < 64 ? std::uint64_t{1} << ordinal : 0;
  if ((allowed.load(std::memory_order_relaxed) & bit) == 0) {
    const cudaError_t e =
        cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (e != cudaSuccess) {
      return e;
    }
    allowed.fetch_or(bit, std::memory_order_relaxed);
  }
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  return cudaLaunchKernel(reinterpret_cast<const void*>(Kernel),
                          dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)),
                          pointers, static_cast<std::size_t>(shared_bytes), stream);
}

template <class Arch, class T, int W, bool Vectors, class Score>
cudaError_t launch_prefill_as(attention_params p, Score score, cudaStream_t stream) {
  using config = prefill_config<Arch, T, W, Vectors>;
  p.row_blocks = static_cast<std::int32_t>((p.max_q + config::block_rows - 1) / config::block_rows);
  const std::int64_t blocks = std::int64_t{p.row_blocks} * p.heads * p.sequences;
  return launch_kernel<&prefill_kernel<config, Score>>(blocks, config::threads,
                                                       config::shared_bytes, stream, p, score);
}

template <class Arch, class T, int W, bool Vectors, class Score>
cudaError_t launch_decode_as(attention_params p, Score score, cudaStream_t stream) {
  using config = decode_config<Arch, T, W, Vectors>;
  const std::int64_t rows = p.max_q * p.group < p.decode_rows ? p.max_q * p.group : p.decode_rows;
  p.row_blocks = static_cast<std::int32_t>((rows + config::block_rows - 1) / config::block_rows);
  const std::int64_t blocks = std::int64_t{p.row_blocks} * p.kv_heads * p.sequences;
  return launch_kernel<&decode_kernel<config, Score>>(blocks, config::threads, config::shared_bytes,
                                                      stream, p, score);
}

// The library's own. Only where it pays, in prefill of vectors, has the call without terms a kernel
// of its own.

template <class Arch, class T, int W>
int launch_prefill(const attention_params& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (!p.vectors) {
    return launch_prefill_as<Arch, T, W, false>(p, term_score{}, on);
  }
  const bool terms = p.softcap > 0 || p.alibi_slopes.data != nullptr;
  return terms ? launch_prefill_as<Arch, T, W, true>(p, term_score{}, on)
               : launch_prefill_as<Arch, T, W, true>(p, plain_score{}, on);
}

template <class Arch, class T, int W>
int launch_decode(const attention_params& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return p.vectors ? launch_decode_as<Arch, T, W, true>(p, term_score{}, on)
                   : launch_decode_as<Arch, T, W, false>(p, term_score{}, on);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
