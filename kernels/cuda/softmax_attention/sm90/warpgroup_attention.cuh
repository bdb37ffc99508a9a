// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../../common/wgmma.cuh"
#include "../row_result.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What a warpgroup holds while its 64 query rows walk over tiles of keys, in fragments of
/// wgmma.cuh: this thread's two rows are g and g + 8 of its warp's 16.
///
/// Weights are relative to a reference which follows the row's largest score, but only when that
/// has grown by more than a factor of 2^8: up to there weights and sums lose nothing, and what was
/// accumulated need not shrink. Each row decides alone, so that its bits depend on nothing else.
template <class Config>
struct warpgroup_attention {
  using T = typename Config::element;
  using core = tensor_core<T>;
  static constexpr int keys = Config::block_keys;
  static constexpr int dim = Config::value_dim;
  static constexpr int rows = 16;  // of a warp
  static constexpr float hidden = hidden_score;
  static constexpr float slack = 8;  // powers of two

  float s[keys / 2];                // scores, then weights
  std::uint32_t weights[keys / 4];  // in pairs: the left operand of the second product
  float o[dim / 2];
  float reference[2];
  float sum[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) {
      o[i] = 0;
    }
    reference[0] = reference[1] = hidden;
    sum[0] = sum[1] = 0;
  }

  /// Begins s = q k^T. `q` is the first of the warpgroup's rows.
  __device__ __forceinline__ void begin_scores(std::uint32_t q, std::uint32_t k) {
    pin_registers(s);
    products_begin();
#pragma unroll
    for (int step = 0; step < Config::key_dim / 16; ++step) {
      const std::uint32_t within = static_cast<std::uint32_t>(step % 4) * 32;
      warpgroup_product<T, keys>::both_shared(
          s, matrix_descriptor::of(q + step / 4 * Config::q_block_bytes) + within,
          matrix_descriptor::of(k + step / 4 * Config::kv_block_bytes) + within, step > 0);
    }
    products_commit();
  }

  /// Begins o += weights v.
  __device__ __forceinline__ void begin_values(std::uint32_t v) {
    pin_registers(o);
    products_begin();
#pragma unroll
    for (int step = 0; step < keys / 16; ++step) {
      warpgroup_product<T, dim>::left_in_registers(
          o, weights + 4 * step, matrix_descriptor::of(v, Config::kv_block_bytes) + step * 2048, 1);
    }
    products_commit();
  }

  /// The scores are there when at most `Pending` groups of products are under way.
  template <int Pending>
  __device__ __forceinline__ void await_scores() {
    products_wait<Pending>();
    pin_registers(s);
  }
  /// Has the weights computed while the products with values run, not after them: ptxas would move
  /// the wait for those up to here. It leaves it behind a store, which never happens, since no sum
  /// is negative.
  __device__ __forceinline__ void weights_before_values(std::uint32_t shared) const {
    store_shared_if_negative(shared, sum[0] + sum[1]);
  }
  template <int Pending>
  __device__ __forceinline__ void await_values() {
    products_wait<Pending>();
    pin_registers(o);
  }

  /// The column of the lane's first score; `for_row` counts from there.
  static __device__ __forceinline__ int first_column(int lane) { return 2 * (lane & 3); }

  /// Calls `f(score, column)` for each score of this thread in row g + 8 h.
  template <class F>
  __device__ __forceinline__ void for_row(int, int h, F&& f) {
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 4) {
      f(s[i], i / 4 * 8);
      f(s[i + 1], i / 4 * 8 + 1);
    }
  }

  /// Scores become weights 2^(factor (s - reference)); `factor` is positive. Returns by how much
  /// what was accumulated has to shrink, in each row.
  __device__ __forceinline__ float2 weigh(float factor) {
    float shrink[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float highest[2] = {hidden, hidden};
#pragma unroll
      for (int i = 2 * h; i < keys / 2; i += 4) {
        highest[0] = fmaxf(highest[0], s[i]);
        highest[1] = fmaxf(highest[1], s[i + 1]);
      }
      float most = fmaxf(highest[0], highest[1]);
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      // A row without any score yet moves with its first; while it has none the difference is NaN.
      const bool moves = (most - reference[h]) * factor > slack;
      shrink[h] = moves ? exp2_fast((reference[h] - most) * factor) : 1.0f;
      reference[h] = moves ? most : reference[h];
      const float offset = reference_of(reference[h], factor);
      float total[2] = {0, 0};
#pragma unroll
      for (int i = 2 * h; i < keys / 2; i += 4) {
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          s[i + x] = exp2_fast(fmaf(s[i + x], factor, -offset));
          total[x] += s[i + x];
        }
      }
      sum[h] = fmaf(sum[h], shrink[h], total[0] + total[1]);
    }
    return {shrink[0], shrink[1]};
  }

  /// Shrinks what was accumulated, unless no row of the warp has to.
  __device__ __forceinline__ void shrink_values(float2 shrink) {
    if (__any_sync(0xffffffffu, shrink.x != 1.0f || shrink.y != 1.0f)) {
#pragma unroll
      for (int i = 0; i < dim / 2; ++i) {
        o[i] *= (i / 2) % 2 == 0 ? shrink.x : shrink.y;
      }
    }
  }

  __device__ __forceinline__ void pack_weights() {
#pragma unroll
    for (int i = 0; i < keys / 4; ++i) {
      weights[i] = core::pack(s[2 * i], s[2 * i + 1]);
    }
  }

  /// Completes the weight sums over the lanes of each row.
  __device__ __forceinline__ void finish_sums() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
      sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    }
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
