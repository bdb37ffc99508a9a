// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../common/tma.cuh"
#include "../row_result.cuh"
#include "config.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Writes row g + 8 h of a warp's 16, which the four lanes hold, if it `exists`. The accumulated
/// values become `result`'s. The whole warp takes part.
///
/// Of two chunks of 16 bytes each lane has a word of both. Neighbours exchange one, so that each
/// has two words side by side, and the four write 32 bytes at once.
template <class Config>
__device__ __forceinline__ void write_row(const attention_params& p, typename Config::element* row,
                                          bool exists, int lane, int h,
                                          const float (&o)[Config::value_dim / 2],
                                          const row_result& result) {
  const bool upper = (lane & 1) != 0;
  const int first = upper ? 1 : 0;  // of the two chunks the one that is this lane's
  uint2* const to = fixed_address(reinterpret_cast<uint2*>(row) + (2 * first + (lane >> 1 & 1)));
  const int chunks = exists ? p.value_dim / 8 - first : 0;
#pragma unroll
  for (int j = 0; j < Config::value_dim / 8; j += 2) {
    std::uint32_t pairs[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      pairs[i] = tensor_core<typename Config::element>::pack(result(o[4 * (j + i) + 2 * h]),
                                                             result(o[4 * (j + i) + 2 * h + 1]));
    }
    const std::uint32_t theirs = __shfl_xor_sync(0xffffffffu, upper ? pairs[0] : pairs[1], 1);
    if (j < chunks) {
      to[2 * j] = upper ? make_uint2(theirs, pairs[1]) : make_uint2(pairs[0], theirs);
    }
  }
}

/// Lays 16 whole rows of a warp down in shared memory as boxes, of 64 columns each, with the chunks
/// of a row exchanged as the copy engine wants it: fewer instructions than stores of the lanes'
/// own, and nobody waits for memory. `to` is where the first box's first of these rows lies.
template <class Config>
__device__ __forceinline__ void lay_down_rows(std::uint32_t to, int lane,
                                              const float (&o)[Config::value_dim / 2],
                                              const row_result (&result)[2]) {
  const int row = lane % 16;
  const std::uint32_t corner =
      to + static_cast<std::uint32_t>(row * 128 + ((lane / 16) ^ (row & 7)) * 16);
#pragma unroll
  for (int j = 0; j < Config::value_dim / 16; ++j) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const row_result& of = result[i % 2];
      pairs[i] = tensor_core<typename Config::element>::pack(of(o[8 * j + 2 * i]),
                                                             of(o[8 * j + 2 * i + 1]));
    }
    store_matrix((corner ^ static_cast<std::uint32_t>(j % 4 * 32)) + j / 4 * Config::q_block_bytes,
                 pairs);
  }
  fence_async_proxy();
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
