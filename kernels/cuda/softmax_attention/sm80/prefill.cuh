// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warp_attention.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline constexpr float log2e = 1.44269504088896f;

/// Many query rows: a block of threads takes `block_rows` rows of one head and walks over its keys.
template <class Arch, class T, int D, bool Vectors>
struct prefill_config {
  using element = T;
  static constexpr int dim = D;
  static constexpr bool vectors = Vectors;
  static constexpr int block_rows = 128;
  static constexpr int block_keys = 64;
  static constexpr int warps = 4;
  static constexpr int threads = 32 * warps;
  static constexpr int blocks_per_processor = 2;

  static constexpr int q_bytes = block_rows * D * 2;
  static constexpr int tile_bytes = block_keys * D * 2;
  static constexpr int stages = 2;
  static constexpr int shared_bytes = q_bytes + 2 * stages * tile_bytes;
};

/// Writes the rows of one warp by way of its own part of the query tile, so that each lane has
/// eight neighbouring elements to store.
template <class Config, class Warp>
__device__ __forceinline__ void write_rows(const attention_params& p, const sequence_place& s,
                                           Warp& w, int head, int first_row, std::uint32_t tile,
                                           int tile_row, int lane) {
  using T = typename Config::element;
  using core = tensor_core<T>;
  using layout = shared_tile<Config::dim>;
  T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] + s.q_begin * p.o_strides[1] +
                 head * p.o_strides[2];
  __syncwarp();
#pragma unroll
  for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float total = w.sum[m][h];
      const float inverse = 1.0f / total;
      const int row = tile_row + 16 * m + 8 * h + (lane >> 2);
#pragma unroll
      for (int n = 0; n < Config::dim / 8; ++n) {
        const float low = total == 0 ? 0.0f : w.o[m][n][2 * h] * inverse;
        const float high = total == 0 ? 0.0f : w.o[m][n][2 * h + 1] * inverse;
        store_shared(tile + layout::offset(row, n) + 4 * (lane & 3), core::pack(low, high));
      }
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int at = lane; at < Warp::rows * layout::chunks; at += 32) {
    const int r = at / layout::chunks;
    const int chunk = at % layout::chunks;
    if (first_row + r >= s.queries) {
      continue;
    }
    const uint4 value = load_shared_16(tile + layout::offset(tile_row + r, chunk));
    const std::uint32_t pairs[4] = {value.x, value.y, value.z, value.w};
    write_chunk(p, out + (first_row + r) * p.o_strides[1], chunk, pairs);
  }
}

/// What a block of threads works on.
struct row_block {
  int first_row;
  int head;
  int sequence;
};

/// The last rows of a causal head see the most keys: they go first.
template <class Config>
__device__ __forceinline__ row_block rows_of(const attention_params& p, unsigned block) {
  const unsigned row_blocks = static_cast<unsigned>(p.row_blocks);
  const unsigned heads = static_cast<unsigned>(p.heads);
  return {static_cast<int>(row_blocks - 1 - block % row_blocks) * Config::block_rows,
          static_cast<int>(block / row_blocks % heads),
          static_cast<int>(block / row_blocks / heads)};
}

/// Writes log-sum-exp and output of one warp, whose rows begin at `warp_row` of the block's. Where
/// the block works is found once more rather than kept in registers through the main loop.
template <class Config, class Warp>
__device__ __forceinline__ void finish_rows(const attention_params& p, Warp& w, float factor,
                                            std::uint32_t q_tile, int warp_row, int lane) {
  const auto [block_row, head, sequence] = rows_of<Config>(p, rederived(blockIdx.x));
  const sequence_place s = place_of(p, sequence);
  const int first_row = block_row + warp_row;
  w.finish_sums();
  if (p.lse != nullptr && (lane & 3) == 0) {
#pragma unroll
    for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = first_row + 16 * m + 8 * h + (lane >> 2);
        if (row < s.queries) {
          write_lse(p, s, head, row, Warp::lse_of(w.maximum[m][h], w.sum[m][h], factor));
        }
      }
    }
  }
  write_rows<Config>(p, s, w, head, first_row, q_tile, warp_row, lane);
}

template <class Config, class Score>
__global__ void __launch_bounds__(Config::threads, Config::blocks_per_processor)
    prefill_kernel(const __grid_constant__ attention_params p,
                   const __grid_constant__ Score score) {
  using T = typename Config::element;
  constexpr int D = Config::dim;
  constexpr int tile_keys = Config::block_keys;
  using warp_type = warp_attention<T, D, Config::block_rows / Config::warps / 16, tile_keys>;

  const auto [block_row, head, sequence] = rows_of<Config>(p, blockIdx.x);
  const sequence_place s = place_of(p, sequence);
  if (block_row >= s.queries || static_cast<std::int64_t>(s.queries) * p.group <= p.decode_rows) {
    return;
  }

  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const std::uint32_t q_tile = shared_address(shared_memory);
  const std::uint32_t kv_tiles = q_tile + Config::q_bytes;
  int thread = static_cast<int>(threadIdx.x);

  using word = const std::uint16_t;
  word* const q = static_cast<word*>(p.q) + s.batch * p.q_strides[0] + head * p.q_strides[2] +
                  (s.q_begin + block_row) * p.q_strides[1];
  const int kv_head = head / p.group;
  word* k = static_cast<word*>(p.k) + s.batch * p.k_strides[0] + kv_head * p.k_strides[2] +
            s.k_begin * p.k_strides[1];
  word* v = static_cast<word*>(p.v) + s.batch * p.v_strides[0] + kv_head * p.v_strides[2] +
            s.k_begin * p.v_strides[1];

  // Loads the next tile of keys and values.
  const auto load_keys = [&](int tile) {
    const std::uint32_t to = kv_tiles + (tile % 2) * (2 * Config::tile_bytes);
    const int count = s.keys - tile * tile_keys;
    fill_tile<D, tile_keys, Config::threads, Config::vectors>(to, thread, k, p.k_strides[1],
                                                              p.k_strides[3], count);
    fill_tile<D, tile_keys, Config::threads, Config::vectors>(
        to + Config::tile_bytes, thread, v, p.v_strides[1], p.v_strides[3], count);
    k += tile_keys * p.k_strides[1];
    v += tile_keys * p.v_strides[1];
  };

  const int last_row = min(block_row + Config::block_rows, s.queries) - 1;
  const int tiles = (visible_end(p, s, last_row) + tile_keys - 1) / tile_keys;
  const int unmasked_tiles = visible_end(p, s, block_row) / tile_keys;

  if (tiles > 0) {
    fill_tile<D, Config::block_rows, Config::threads, Config::vectors>(
        q_tile, thread, q, p.q_strides[1], p.q_strides[3], s.queries - block_row);
    load_keys(0);
    copy_async_commit();
  }

  warp_type w;
  w.clear();
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    thread = rederived(thread);
    const int lane = thread % 32;
    const int warp_row = thread / 32 * warp_type::rows;
    const std::uint32_t k_tile = kv_tiles + (tile % 2) * (2 * Config::tile_bytes);
    const std::uint32_t v_tile = k_tile + Config::tile_bytes;
    const int first_key = tile * tile_keys;
    copy_async_wait<0>();
    // This tile has arrived everywhere, and nobody reads the one before any more.
    __syncthreads();
    if (tile == 0 && p.query_factor != 1) {
      multiply_tile<T, D, Config::block_rows, Config::threads>(q_tile, thread, p.query_factor);
      __syncthreads();
    }
    if (tile + 1 < tiles) {
      load_keys(tile + 1);
      copy_async_commit();
    }

    w.scores(q_tile, warp_row, k_tile, lane);
    float factor = p.scale_log2;
    if constexpr (!Score::plain) {
      const float scale = p.scale_log2 * 0.693147180559945f;
      w.for_each_score(lane, [&](float& x, int m, int h, int column) {
        // Rows and keys past the sequence's end, which nothing sees, pass for its last.
        const int row = min(block_row + warp_row + 16 * m + 8 * h + (lane >> 2), s.queries - 1);
        const int key = min(first_key + column, s.keys - 1);
        const score_context at{sequence, head, row, key, s.queries, s.keys};
        x = score.function(x * scale, at);
      });
      factor = log2e;
    }
    const bool masked = tile >= unmasked_tiles;
    const int lane_row = block_row + warp_row + (lane >> 2);
    const auto end = [&](int m, int h) {
      return visible_end(p, s, lane_row + 16 * m + 8 * h) - first_key;
    };
    if (masked) {
      w.for_each_score(lane, [&](float& x, int m, int h, int column) {
        x = column < end(m, h) ? x : warp_type::hidden;
      });
    }
    w.weigh(factor);
    if (masked && p.causal &&
        __syncthreads_or(has_nonfinite<T, D, tile_keys, Config::threads>(v_tile, thread))) {
      w.add_nonfinite(v_tile, lane, end);
      __syncthreads();
      zero_nonfinite<T, D, tile_keys, Config::threads>(v_tile, thread);
      __syncthreads();
    }
    w.accumulate(v_tile, lane);
  }

  finish_rows<Config>(p, w, Score::plain ? p.scale_log2 : log2e, q_tile,
                      thread / 32 * warp_type::rows, thread % 32);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
