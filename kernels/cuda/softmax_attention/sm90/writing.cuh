// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../row_result.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Transposes the 4 x 4 words that the four lanes of a row hold: lane t gets word t of each lane.
__device__ __forceinline__ void transpose_quad(std::uint32_t (&word)[4], int lane) {
#pragma unroll
  for (int distance = 2; distance >= 1; distance /= 2) {
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & distance) == 0) {
        const std::uint32_t mine = upper ? word[i] : word[i + distance];
        const std::uint32_t theirs = __shfl_xor_sync(0xffffffffu, mine, distance);
        (upper ? word[i] : word[i + distance]) = theirs;
      }
    }
  }
}

/// Writes row g + 8 h of a warp's 16, which the four lanes hold; null when it does not exist. The
/// accumulated values become `result`'s. The whole warp takes part.
template <class Config>
__device__ __forceinline__ void write_row(const attention_params& p, typename Config::element* row,
                                          int lane, int h, const float (&o)[Config::value_dim / 2],
                                          const row_result& result) {
#pragma unroll
  for (int j = 0; j < Config::value_dim / 8; j += 4) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = tensor_core<typename Config::element>::pack(result(o[4 * (j + i) + 2 * h]),
                                                             result(o[4 * (j + i) + 2 * h + 1]));
    }
    transpose_quad(pairs, lane);
    const int chunk = j + (lane & 3);
    if (row != nullptr && 8 * chunk < p.value_dim) {
      write_chunk(p, row, chunk, pairs);
    }
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
