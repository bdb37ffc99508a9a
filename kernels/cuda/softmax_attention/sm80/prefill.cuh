// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../sequence.cuh"
#include "../tile_scores.cuh"
#include "warp_attention.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Many query rows: a block of threads takes `block_rows` rows of one head and walks over its keys.
/// Tiles are W elements wide, whatever less of keys and values exists.
template <class Arch, class T, int W, bool Vectors>
struct prefill_config {
  using element = T;
  static constexpr int width = W;
  static constexpr bool vectors = Vectors;
  static constexpr int warps = 4;
  static constexpr int threads = 32 * warps;
  static constexpr int block_keys = 64;
  static constexpr int blocks_per_processor = 2;

  // Registers bound the rows of a warp, and shared memory of 99 KiB the tiles: wide ones of keys
  // and of values each arrive while the other is in use, narrow ones a whole step ahead.
  static constexpr int block_rows = W <= 128 ? 128 : 64;
  static constexpr int stages = W <= 128 ? 2 : 1;

  static constexpr int q_bytes = block_rows * W * 2;
  static constexpr int tile_bytes = block_keys * W * 2;
  static constexpr int shared_bytes = q_bytes + 2 * stages * tile_bytes;
};

/// Writes the rows of one warp by way of its own part of the query tile, so that each lane has
/// eight neighbouring elements to store.
template <class Config, class Warp>
__device__ __forceinline__ void write_rows(const attention_params& p, const sequence_place& s,
                                           Warp& w, const row_result (&results)[Warp::rows / 16][2],
                                           int head, int first_row, std::uint32_t tile,
                                           int tile_row, int lane) {
  using T = typename Config::element;
  using core = tensor_core<T>;
  using layout = shared_tile<Config::width>;
  T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] + s.q_begin * p.o_strides[1] +
                 head * p.o_strides[2];
  __syncwarp();
#pragma unroll
  for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const row_result& result = results[m][h];
      const int row = tile_row + 16 * m + 8 * h + (lane >> 2);
#pragma unroll
      for (int n = 0; n < layout::chunks; ++n) {
        store_shared(tile + layout::offset(row, n) + 4 * (lane & 3),
                     core::pack(result(w.o[m][n][2 * h]), result(w.o[m][n][2 * h + 1])));
      }
    }
  }
  __syncwarp();
  const int chunks = (p.value_dim + 7) / 8;
#pragma unroll 2
  for (int at = lane; at < Warp::rows * layout::chunks; at += 32) {
    const int r = at / layout::chunks;
    const int chunk = at % layout::chunks;
    if (first_row + r >= s.queries || chunk >= chunks) {
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

/// What a block's threads agree on about its rows. It lies in shared memory: registers through the
/// main loop are short.
template <int Keys>
struct block_facts {
  row_block block;
  int queries;  // of the sequence
  int keys;
  sequence_mask mask;
  tile_walk<Keys> walk;
};

/// Writes log-sum-exp and output of one warp, whose rows begin at `warp_row` of the block's. Where
/// the block works is found once more rather than kept in registers through the main loop.
template <class Config, class Warp>
__device__ __forceinline__ void finish_rows(const attention_params& p, Warp& w, float factor,
                                            std::uint32_t q_tile, int warp_row, int lane) {
  const auto [block_row, head, sequence] = rows_of<Config>(p, rederived(blockIdx.x));
  const sequence_place s = place_of(p, sequence);
  const int first_row = block_row + warp_row;
  const float sink = sink_of(p, head);
  w.finish_sums();
  row_result results[Warp::rows / 16][2];
#pragma unroll
  for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      results[m][h] = row_result::of(w.reference[m][h], w.sum[m][h], factor, sink);
      const int row = first_row + 16 * m + 8 * h + (lane >> 2);
      if (p.lse != nullptr && (lane & 3) == 0 && row < s.queries) {
        write_lse(p, s, head, row, results[m][h].lse);
      }
    }
  }
  write_rows<Config>(p, s, w, results, head, first_row, q_tile, warp_row, lane);
}

template <class Config, class Score>
__global__ void __launch_bounds__(Config::threads, Config::blocks_per_processor)
    prefill_kernel(const __grid_constant__ attention_params p,
                   const __grid_constant__ Score score) {
  using T = typename Config::element;
  constexpr int W = Config::width;
  constexpr int tile_keys = Config::block_keys;
  using warp_type = warp_attention<T, W, Config::block_rows / Config::warps / 16, tile_keys>;

  using facts_type = block_facts<tile_keys>;
  using word = const std::uint16_t;

  const row_block block = rows_of<Config>(p, blockIdx.x);
  const sequence_place s = place_of(p, block.sequence);
  if (block.first_row >= s.queries ||
      static_cast<std::int64_t>(s.queries) * p.group <= p.decode_rows) {
    return;
  }
  int thread = static_cast<int>(threadIdx.x);

  __shared__ __align__(alignof(facts_type)) unsigned char facts_memory[sizeof(facts_type)];
  const facts_type& facts = *reinterpret_cast<const facts_type*>(facts_memory);
  if (thread == 0) {
    const sequence_mask mask(p, s.queries, s.keys);
    const int last_row = min(block.first_row + Config::block_rows, s.queries) - 1;
    *reinterpret_cast<facts_type*>(facts_memory) = {
        block, s.queries, s.keys, mask, {mask, block.first_row, last_row}};
  }
  __syncthreads();

  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t q_tile = shared_address(shared_memory);
  const std::uint32_t kv_tiles = q_tile + Config::q_bytes;
  const int kv_head = block.head / p.group;
  word* const k = first_chunk_of<Config>(p.k, p.k_strides, s, kv_head, thread);
  word* const v = first_chunk_of<Config>(p.v, p.v_strides, s, kv_head, thread);
  const auto load = [&](std::uint32_t to, word* from, const std::int64_t(&strides)[4], int tile,
                        int dim) {
    const int first = tile * tile_keys;
    fill_tile<W, tile_keys, Config::threads, Config::vectors>(
        to, thread, from + first * strides[1], strides[1], strides[3], facts.keys - first, dim);
  };
  const auto load_keys = [&](int tile, int stage) {
    load(kv_tiles + stage * (2 * Config::tile_bytes), k, p.k_strides, tile, p.key_dim);
  };
  const auto load_values = [&](int tile, int stage) {
    load(kv_tiles + stage * (2 * Config::tile_bytes) + Config::tile_bytes, v, p.v_strides, tile,
         p.value_dim);
  };
  const auto seen_from = [&](int tile) {
    const row_block& rows = facts.block;
    return run_from(
        facts.walk, tile, score,
        {rows.sequence, rows.head, rows.head + 1, rows.first_row,
         min(rows.first_row + Config::block_rows, facts.queries), 0, 0, facts.queries, facts.keys});
  };
  const auto scores_of_rows = [&](int lane, int warp_row) {
    const int lane_row = facts.block.first_row + warp_row + (lane >> 2);
    return tile_scores{p, score, facts.mask, [&p, &facts, lane_row](int m, int h) {
                         return score_row{
                             facts.block.sequence, facts.block.head, lane_row + 16 * m + 8 * h,
                             facts.queries,        facts.keys,       slope_of(p, facts.block.head)};
                       }};
  };

  tile_run now = seen_from(0);
  if (now.given()) {
    word* const q = static_cast<word*>(p.q) + s.batch * p.q_strides[0] +
                    block.head * p.q_strides[2] + (s.q_begin + block.first_row) * p.q_strides[1];
    fill_tile<W, Config::block_rows, Config::threads, Config::vectors>(
        q_tile, thread, first_chunk<W, Config::vectors>(q, thread, p.q_strides[1], p.q_strides[3]),
        p.q_strides[1], p.q_strides[3], s.queries - block.first_row, p.key_dim);
    load_keys(now.tile, 0);
    if constexpr (Config::stages == 2) {
      load_values(now.tile, 0);
    }
    copy_async_commit();
    if (p.query_factor != 1) {
      copy_async_wait<0>();
      __syncthreads();
      multiply_tile<T, W, Config::block_rows, Config::threads>(q_tile, thread, p.query_factor);
    }
  }

  warp_type w;
  w.clear();
  if constexpr (warp_type::holds_queries) {
    copy_async_wait<0>();
    __syncthreads();
    w.hold_queries(q_tile, thread / 32 * warp_type::rows, thread % 32);
  }
  int stage = 0;
#pragma unroll 1
  while (now.given()) {
    thread = rederived(thread);
    const int lane = thread % 32;
    const int warp_row = thread / 32 * warp_type::rows;
    const std::uint32_t k_tile = kv_tiles + stage * (2 * Config::tile_bytes);
    const std::uint32_t v_tile = k_tile + Config::tile_bytes;
    const int first_key = now.tile * tile_keys;
    tile_run after = now;
    if (++after.tile == after.end) {
      after = seen_from(after.tile);
    }
    copy_async_wait<0>();
    // What was under way has arrived everywhere, and nobody reads the tile before any more.
    __syncthreads();
    if constexpr (Config::stages == 2) {
      if (after.given()) {
        load_keys(after.tile, stage ^ 1);
        load_values(after.tile, stage ^ 1);
      }
    } else {
      load_values(now.tile, 0);
    }
    copy_async_commit();

    w.scores(q_tile, warp_row, k_tile, lane);
    if constexpr (Config::stages == 1) {
      copy_async_wait<0>();
      __syncthreads();
      if (after.given()) {
        load_keys(after.tile, 0);
      }
      copy_async_commit();
    }

    if constexpr (!Score::plain) {
      scores_of_rows(lane, warp_row).change(w, first_key, lane);
    }
    if (!now.whole) {
      scores_of_rows(lane, warp_row).template shown<warp_type>(first_key, lane).hide_others(w);
    }
    w.weigh(score_factor<Score>(p), follows_late<Config>(p));
    if (!now.whole && (Score::masks || rows_differ(p)) &&
        __syncthreads_or(
            any_nonfinite_of<T, Config::tile_bytes / 16, Config::threads>(v_tile, thread))) {
      const auto scores = scores_of_rows(lane, warp_row);
      w.add_nonfinite(v_tile, lane,
                      [&](int m, int h, int key) { return scores.sees(m, h, first_key + key); });
      __syncthreads();
      zero_nonfinite<T, W, tile_keys, Config::threads>(v_tile, thread);
      __syncthreads();
    }
    w.accumulate(v_tile, lane);
    now = after;
    if constexpr (Config::stages == 2) {
      stage ^= 1;
    }
  }

  finish_rows<Config>(p, w, score_factor<Score>(p), q_tile, thread / 32 * warp_type::rows,
                      thread % 32);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
