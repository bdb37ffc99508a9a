// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../row_result.cuh"
#include "../sequence.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Whether references follow late, by head dimensions, on which bits may depend: narrow
/// accumulators are multiplied faster than it is asked whether they have to be. Kernels of one
/// width know it.
template <class Config>
__device__ __forceinline__ bool follows_late(const attention_params& p) {
  constexpr int narrow = 64;
  return Config::vectors ? Config::width > narrow : max(p.key_dim, p.value_dim) > narrow;
}

/// Where the first chunk lies that a thread moves of the sequence's keys, or values, of a head.
template <class Config>
__device__ __forceinline__ const std::uint16_t* first_chunk_of(const void* tensor,
                                                               const std::int64_t (&strides)[4],
                                                               const sequence_place& s, int kv_head,
                                                               int thread) {
  return first_chunk<Config::width, Config::vectors>(
      static_cast<const std::uint16_t*>(tensor) + s.batch * strides[0] + kv_head * strides[2] +
          s.k_begin * strides[1],
      thread, strides[1], strides[3]);
}

/// What one warp holds while its `Tiles` x 16 query rows walk over tiles of `Keys` keys: the
/// reference, the weight sum and the weighted values of each row.
///
/// Fragments are those of mma.m16n8k16: lane = 4 g + t holds, of each 16 x 8 accumulator, rows g
/// and g + 8 and columns 2 t and 2 t + 1. The four lanes of a row share its reference; each keeps
/// the weight sum of its own columns until the end. A row's arithmetic depends on nothing but the
/// row.
template <class T, int W, int Tiles, int Keys>
struct warp_attention {
  using core = tensor_core<T>;
  using layout = shared_tile<W>;
  static constexpr int rows = 16 * Tiles;
  static constexpr int keys = Keys;
  static constexpr float hidden = hidden_score;
  static constexpr bool holds_queries = W <= 64 && Tiles > 1;

  std::uint32_t q[holds_queries ? W / 16 : 1][Tiles][4];
  float o[Tiles][W / 8][4];
  float reference[Tiles][2];
  float sum[Tiles][2];
  float s[Tiles][Keys / 8][4];  // scores, then weights

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < Tiles; ++m) {
#pragma unroll
      for (int n = 0; n < W / 8; ++n) {
#pragma unroll
        for (int x = 0; x < 4; ++x) {
          o[m][n][x] = 0;
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        reference[m][h] = hidden;
        sum[m][h] = 0;
      }
    }
  }

  /// Where registers are to spare, queries stay in them: `q` is the fragments of the rows from
  /// `q_row` on.
  __device__ __forceinline__ void hold_queries(std::uint32_t tile, int q_row, int lane) {
    if constexpr (holds_queries) {
      const std::uint32_t corner = tile + layout::row_bytes * q_row + layout::corner(lane);
#pragma unroll
      for (int step = 0; step < W / 16; ++step) {
#pragma unroll
        for (int m = 0; m < Tiles; ++m) {
          load_matrix(q[step][m], layout::from(corner, step, 16 * m));
        }
      }
    }
  }

  /// s = q k^T for the warp's rows, from `q_row` of the tile on or held, and a tile of keys.
  __device__ __forceinline__ void scores(std::uint32_t q_tile, int q_row, std::uint32_t k,
                                         int lane) {
#pragma unroll
    for (int m = 0; m < Tiles; ++m) {
#pragma unroll
      for (int n = 0; n < Keys / 8; ++n) {
#pragma unroll
        for (int x = 0; x < 4; ++x) {
          s[m][n][x] = 0;
        }
      }
    }
    const std::uint32_t q_corner =
        rederived(q_tile + layout::row_bytes * q_row + layout::corner(lane));
    const std::uint32_t k_corner = rederived(k + layout::exchanged_corner(lane));
#pragma unroll
    for (int step = 0; step < W / 16; ++step) {
      auto& a = q[holds_queries ? step : 0];
      if constexpr (!holds_queries) {
#pragma unroll
        for (int m = 0; m < Tiles; ++m) {
          load_matrix(a[m], layout::from(q_corner, step, 16 * m));
        }
      }
#pragma unroll
      for (int n = 0; n < Keys / 16; ++n) {
        std::uint32_t b[4];
        load_matrix(b, layout::from(k_corner, step, 16 * n));
#pragma unroll
        for (int m = 0; m < Tiles; ++m) {
          core::multiply_add(s[m][2 * n], a[m], b[0], b[1]);
          core::multiply_add(s[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  /// The column of a tile that a lane's columns count from.
  static __device__ __forceinline__ int first_column(int lane) { return 2 * (lane & 3); }

  /// Calls `f(score, column)` for this lane's scores of row 16 m + 8 h + g of the warp.
  template <class F>
  __device__ __forceinline__ void for_row(int m, int h, F&& f) {
#pragma unroll
    for (int n = 0; n < Keys / 8; ++n) {
#pragma unroll
      for (int x = 0; x < 2; ++x) {
        f(s[m][n][2 * h + x], 8 * n + x);
      }
    }
  }

  /// Turns scores into weights 2^(factor (s - reference)) and shrinks what was accumulated under a
  /// lower reference, which follows the largest score `late` or at once. `factor` is positive.
  __device__ __forceinline__ void weigh(float factor, bool late) {
    float shrink[Tiles][2];
    bool shrinks = false;
#pragma unroll
    for (int m = 0; m < Tiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& now = reference[m][h];
        float highest = late ? hidden : now;
#pragma unroll
        for (int n = 0; n < Keys / 8; ++n) {
          highest = fmaxf(highest, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
        }
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
        if (late) {
          shrink[m][h] = follow(now, highest, factor);
          shrinks = shrinks || shrink[m][h] != 1.0f;
        } else {
          shrink[m][h] = shrink_of(now, factor, reference_of(highest, factor));
          now = highest;
        }
        const float offset = reference_of(now, factor);
        float total = sum[m][h] * shrink[m][h];
#pragma unroll
        for (int n = 0; n < Keys / 8; ++n) {
#pragma unroll
          for (int x = 2 * h; x < 2 * h + 2; ++x) {
            s[m][n][x] = exp2_fast(fmaf(s[m][n][x], factor, -offset));
            total += s[m][n][x];
          }
        }
        sum[m][h] = total;
      }
    }
    if (!late || __any_sync(0xffffffffu, shrinks)) {
#pragma unroll
      for (int m = 0; m < Tiles; ++m) {
#pragma unroll
        for (int n = 0; n < W / 8; ++n) {
#pragma unroll
          for (int x = 0; x < 4; ++x) {
            o[m][n][x] *= shrink[m][x / 2];
          }
        }
      }
    }
  }

  /// o += weights v for a tile of values.
  __device__ __forceinline__ void accumulate(std::uint32_t v, int lane) {
    const std::uint32_t v_corner = rederived(v + layout::corner(lane));
#pragma unroll
    for (int step = 0; step < Keys / 16; ++step) {
      std::uint32_t a[Tiles][4];
#pragma unroll
      for (int m = 0; m < Tiles; ++m) {
        const float(&low)[4] = s[m][2 * step];
        const float(&high)[4] = s[m][2 * step + 1];
        a[m][0] = core::pack(low[0], low[1]);
        a[m][1] = core::pack(low[2], low[3]);
        a[m][2] = core::pack(high[0], high[1]);
        a[m][3] = core::pack(high[2], high[3]);
      }
#pragma unroll
      for (int n = 0; n < W / 16; ++n) {
        std::uint32_t b[4];
        load_matrix_transposed(b, layout::from(v_corner, n, 16 * step));
#pragma unroll
        for (int m = 0; m < Tiles; ++m) {
          core::multiply_add(o[m][2 * n], a[m], b[0], b[1]);
          core::multiply_add(o[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  /// Adds the infinite and NaN values that each row sees, at weight one: any positive weight gives
  /// the same. They are zeroed in the tile before `accumulate`, whose zero weights would make NaN
  /// of them in rows that do not see them. `sees(m, h, key)` is about a key within the tile.
  template <class Sees>
  __device__ __forceinline__ void add_nonfinite(std::uint32_t v, int lane, Sees&& sees) {
    constexpr std::uint32_t e = core::exponent;
#pragma unroll 1
    for (int key = 0; key < Keys; ++key) {
      bool seen[Tiles][2];
#pragma unroll
      for (int m = 0; m < Tiles; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          seen[m][h] = sees(m, h, key);
        }
      }
#pragma unroll
      for (int n = 0; n < W / 8; ++n) {
        const std::uint32_t pair = load_shared_4(v + layout::offset(key, n) + 4 * (lane & 3));
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          const std::uint32_t bits = (pair >> (16 * x)) & 0xffffu;
          if ((bits & e) != e) {
            continue;
          }
#pragma unroll
          for (int m = 0; m < Tiles; ++m) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
              if (seen[m][h]) {
                o[m][n][2 * h + x] += core::unpack(bits);
              }
            }
          }
        }
      }
    }
  }

  /// Completes the weight sums over the lanes of each row.
  __device__ __forceinline__ void finish_sums() {
#pragma unroll
    for (int m = 0; m < Tiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        sum[m][h] += __shfl_xor_sync(0xffffffffu, sum[m][h], 1);
        sum[m][h] += __shfl_xor_sync(0xffffffffu, sum[m][h], 2);
      }
    }
  }
};

/// Zeroes the infinite and NaN elements of a tile. All `Threads` threads take part.
template <class T, int W, int Keys, int Threads>
__device__ __forceinline__ void zero_nonfinite(std::uint32_t tile, int thread) {
  constexpr int chunks = Keys * shared_tile<W>::chunks;
#pragma unroll 1
  for (int at = thread; at < chunks; at += Threads) {
    const std::uint32_t where = tile + 16 * static_cast<std::uint32_t>(at);
    const uint4 chunk = load_shared_16(where);
    if (any_nonfinite<T>(chunk)) {
      store_shared(where, make_uint4(finite_only<T>(chunk.x), finite_only<T>(chunk.y),
                                     finite_only<T>(chunk.z), finite_only<T>(chunk.w)));
    }
  }
}

/// Multiplies a tile of queries by 1, -1 or 0, exactly.
template <class T, int W, int Rows, int Threads>
__device__ __forceinline__ void multiply_tile(std::uint32_t tile, int thread, float factor) {
  using core = tensor_core<T>;
#pragma unroll 1
  for (int at = thread; at < Rows * W / 2; at += Threads) {
    const std::uint32_t where = tile + 4 * static_cast<std::uint32_t>(at);
    const std::uint32_t pair = load_shared_4(where);
    store_shared(where, core::pack(core::unpack(pair & 0xffffu) * factor,
                                   core::unpack(pair >> 16) * factor));
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
