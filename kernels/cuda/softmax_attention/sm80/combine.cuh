// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../../common/kernel_launch.cuh"
#include "../row_result.cuh"
#include "../sequence.cuh"
#include "../splits.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline constexpr int combine_warps = 4;

/// After a decode kernel whose blocks took one split each: a warp for each row gathers its splits
/// in order, as a block that takes them all does.
template <class Arch, class T>
__global__ void __launch_bounds__(32 * combine_warps)
    combine_kernel(const __grid_constant__ attention_params p) {
  const std::int64_t most_rows = most_decode_rows(p);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t at = std::int64_t{blockIdx.x} * combine_warps + threadIdx.x / 32;
  const std::int64_t row = at % most_rows;
  const auto kv_head = static_cast<int>(at / most_rows % p.kv_heads);
  const std::int64_t sequence = at / most_rows / p.kv_heads;
  if (sequence >= p.sequences) {
    return;
  }
  const sequence_place s = place_of(p, static_cast<int>(sequence));
  const std::int64_t rows = static_cast<std::int64_t>(s.queries) * p.group;
  const int splits = splits_of(s.keys, rows);
  if (row >= rows || rows > p.decode_rows || splits == 1) {
    return;
  }
  // Nothing waits for memory more than once: the exponents and sums come at the same time, then the
  // values.
  const partial_row own = partial_row::at(p, sequence, kv_head, row, min(lane, splits - 1));
  const float exponent = own.exponent();
  const float sum = own.sum();
  const bool holds = 8 * lane < p.value_dim;
  float parts[most_splits][8] = {};
#pragma unroll
  for (int split = 0; split < most_splits; ++split) {
    if (split < splits && holds) {
      const float4* const from = reinterpret_cast<const float4*>(
          partial_row::at(p, sequence, kv_head, row, split).values + 8 * lane);
      reinterpret_cast<float4&>(parts[split][0]) = from[0];
      reinterpret_cast<float4&>(parts[split][4]) = from[1];
    }
  }
  row_fold fold;
  float values[8] = {};
#pragma unroll
  for (int split = 0; split < most_splits; ++split) {
    if (split < splits) {
      const row_fold::shares by =
          fold.add(__shfl_sync(0xffffffffu, exponent, split), __shfl_sync(0xffffffffu, sum, split));
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        values[e] = by(values[e], parts[split][e]);
      }
    }
  }
  const auto token = static_cast<int>(row / p.group);
  const int head = kv_head * p.group + static_cast<int>(row % p.group);
  const row_result result = fold.result(sink_of(p, head));
  if (p.lse != nullptr && lane == 0) {
    write_lse(p, s, head, token, result.lse);
  }
  if (holds) {
    T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] +
                   (s.q_begin + token) * p.o_strides[1] + head * p.o_strides[2];
    write_values(p, out, lane, values, result);
  }
}

template <class Arch, class T>
int launch_combine(const attention_params& p, void* stream) {
  const std::int64_t rows = std::int64_t{p.sequences} * p.kv_heads * most_decode_rows(p);
  return launch_kernel<&combine_kernel<Arch, T>>((rows + combine_warps - 1) / combine_warps,
                                                 32 * combine_warps, 0,
                                                 static_cast<cudaStream_t>(stream), p);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
