// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../row_result.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What the warps of a block found of the same 16 rows, each from keys of its own, in shared
/// memory: [warp][row][W] values, then references and sums.
template <class Config>
struct warp_results {
  static constexpr int W = Config::width;
  static constexpr int rows = Config::block_rows;
  float* memory;

  __device__ __forceinline__ float* row(int warp, int r) const {
    return memory + (warp * rows + r) * W;
  }
  __device__ __forceinline__ float& reference(int warp, int r) const {
    return memory[Config::warps * rows * W + warp * rows + r];
  }
  __device__ __forceinline__ float& sum(int warp, int r) const {
    return memory[Config::warps * rows * (W + 1) + warp * rows + r];
  }

  template <class Warp>
  __device__ __forceinline__ void take(const Warp& w, int warp, int lane) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = 8 * h + (lane >> 2);
#pragma unroll
      for (int n = 0; n < W / 8; ++n) {
        *reinterpret_cast<float2*>(row(warp, r) + 8 * n + 2 * (lane & 3)) =
            make_float2(w.o[0][n][2 * h], w.o[0][n][2 * h + 1]);
      }
      if ((lane & 3) == 0) {
        reference(warp, r) = w.reference[0][h];
        sum(warp, r) = w.sum[0][h];
      }
    }
  }
};

/// One row of it, merged in the order of the warps.
template <class Config>
struct merged_row {
  const warp_results<Config>& of;
  int row;
  float share[Config::warps];
  float exponent;  // that weights are relative to
  float sum = 0;

  __device__ __forceinline__ merged_row(const warp_results<Config>& results, int r, float factor)
      : of(results), row(r) {
    float highest = hidden_score;
#pragma unroll
    for (int warp = 0; warp < Config::warps; ++warp) {
      highest = fmaxf(highest, of.reference(warp, row));
    }
    const float reference = reference_of(highest, factor);
#pragma unroll
    for (int warp = 0; warp < Config::warps; ++warp) {
      share[warp] = shrink_of(of.reference(warp, row), factor, reference);
      sum = fmaf(share[warp], of.sum(warp, row), sum);
    }
    exponent = __fmul_rn(highest, factor);
  }

  /// Of columns `at` and `at` + 1.
  __device__ __forceinline__ float2 values(int at) const {
    float2 value = make_float2(0, 0);
#pragma unroll
    for (int warp = 0; warp < Config::warps; ++warp) {
      const float2 part = *reinterpret_cast<const float2*>(of.row(warp, row) + at);
      value.x = fmaf(share[warp], part.x, value.x);
      value.y = fmaf(share[warp], part.y, value.y);
    }
    return value;
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
