// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "../sequence.cuh"
#include "../splits.hpp"
#include "../tile_scores.cuh"
#include "warp_attention.cuh"
#include "warp_results.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Few query rows against a cache: the rows of a KV head's whole group of query heads lie side by
/// side, 16 to a block of threads. Tiles of keys go around the splits of the sequence and the warps
/// of a split, each of which streams its own. Results are merged in the order of the warps, then in
/// that of the splits: of a block that takes one split by `combine_kernel`.
template <class Arch, class T, int W, bool Vectors>
struct decode_config {
  using element = T;
  static constexpr int width = W;
  static constexpr bool vectors = Vectors;
  static constexpr int block_rows = decode_block_rows;
  static constexpr int tile_keys = 16;
  static constexpr int warps = W <= 128 ? 4 : 2;
  static constexpr int threads = 32 * warps;
  static constexpr int stages = 2;

  static constexpr int q_bytes = block_rows * W * 2;
  static constexpr int tile_bytes = tile_keys * W * 2;
  static constexpr int warp_bytes = stages * 2 * tile_bytes;
  static constexpr int merge_bytes = warps * block_rows * (W + 2) * 4;
  static constexpr int stream_bytes = std::max(warps * warp_bytes, merge_bytes);
  /// The values that a block has gathered lie behind all this.
  static constexpr int shared_bytes(std::int64_t rows) {
    return q_bytes + stream_bytes + static_cast<int>(rows < block_rows ? rows : block_rows) * W * 4;
  }
};

template <class Config, class Score>
__global__ void __launch_bounds__(Config::threads)
    decode_kernel(const __grid_constant__ attention_params p, const __grid_constant__ Score score) {
  using T = typename Config::element;
  constexpr int W = Config::width;
  constexpr int tile_keys = Config::tile_keys;
  using warp_type = warp_attention<T, W, 1, tile_keys>;
  using word = const std::uint16_t;

  const unsigned row_blocks = static_cast<unsigned>(p.row_blocks);
  const unsigned kv_heads = static_cast<unsigned>(p.kv_heads);
  const unsigned sequences = static_cast<unsigned>(p.sequences);
  const int kv_head = static_cast<int>(blockIdx.x / row_blocks % kv_heads);
  const int sequence = static_cast<int>(blockIdx.x / row_blocks / kv_heads % sequences);
  const sequence_place s = place_of(p, sequence);
  const std::int64_t rows = static_cast<std::int64_t>(s.queries) * p.group;
  if (rows > p.decode_rows) {
    return;
  }
  const int splits = splits_of(s.keys, rows);
  const int first_split = static_cast<int>(blockIdx.x / row_blocks / kv_heads / sequences);
  const int end_split = p.partials != nullptr ? first_split + 1 : splits;
  if (first_split >= splits) {
    return;
  }

  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const std::uint32_t q_tile = shared_address(shared_memory);
  const std::uint32_t warp_tiles =
      q_tile + Config::q_bytes + static_cast<std::uint32_t>(warp) * Config::warp_bytes;

  word* const k = first_chunk_of<Config>(p.k, p.k_strides, s, kv_head, lane);
  word* const v = first_chunk_of<Config>(p.v, p.v_strides, s, kv_head, lane);
  const auto load = [&](int tile, int stage) {
    const std::uint32_t to = warp_tiles + stage * (2 * Config::tile_bytes);
    const int first = tile * tile_keys;
    fill_tile<W, tile_keys, 32, Config::vectors>(to, lane, k + first * p.k_strides[1],
                                                 p.k_strides[1], p.k_strides[3], s.keys - first,
                                                 p.key_dim);
    fill_tile<W, tile_keys, 32, Config::vectors>(to + Config::tile_bytes, lane,
                                                 v + first * p.v_strides[1], p.v_strides[1],
                                                 p.v_strides[3], s.keys - first, p.value_dim);
  };

  const sequence_mask mask(p, s.queries, s.keys);
#pragma unroll 1
  for (int block_row = static_cast<int>(blockIdx.x % row_blocks) * Config::block_rows;
       block_row < rows; block_row += static_cast<int>(row_blocks) * Config::block_rows) {
    // Row r is token r / group of query head kv_head * group + r % group.
    const auto head_of = [&](int r) { return kv_head * p.group + (block_row + r) % p.group; };
    const auto token_of = [&](int r) { return (block_row + r) / p.group; };
    const int last_row = static_cast<int>(min(block_row + Config::block_rows, (int)rows) - 1);
    const tile_walk<tile_keys> walk(mask, block_row / p.group, last_row / p.group);
    const auto next = [&](int tile) {
      return next_tile(walk, tile, splits * Config::warps, score,
                       {sequence, kv_head * p.group, (kv_head + 1) * p.group, block_row / p.group,
                        last_row / p.group + 1, 0, 0, s.queries, s.keys});
    };

#pragma unroll
    for (int at = thread; at < Config::block_rows * W / 8; at += Config::threads) {
      const int r = at / (W / 8);
      const int chunk = at % (W / 8);
      word* const from = static_cast<word*>(p.q) + s.batch * p.q_strides[0] +
                         (s.q_begin + token_of(r)) * p.q_strides[1] + head_of(r) * p.q_strides[2] +
                         chunk * 8 * p.q_strides[3];
      fill_chunk<Config::vectors>(q_tile + shared_tile<W>::offset(r, chunk), from, p.q_strides[3],
                                  block_row + r < rows ? elements_of_chunk(chunk, p.key_dim) : 0);
    }
    copy_async_commit();

    const int lane_head[2] = {head_of(lane >> 2), head_of(8 + (lane >> 2))};
    const int lane_token[2] = {token_of(lane >> 2), token_of(8 + (lane >> 2))};
    const tile_scores scores{p, score, mask, [&](int, int h) {
                               return score_row{sequence,  lane_head[h], lane_token[h],
                                                s.queries, s.keys,       slope_of(p, lane_head[h])};
                             }};
    constexpr int slices = Config::threads / Config::block_rows;
    const int r = thread / slices;
    const int slice = thread % slices;
    const bool exists = block_row + r < rows;
    float* const gathered =
        reinterpret_cast<float*>(shared_memory + Config::q_bytes + Config::stream_bytes) + r * W;
    row_fold fold;
#pragma unroll 1
    for (int split = first_split; split < end_split; ++split) {
      walk_tile now = next(split * Config::warps + warp);
      if (now.tile < walk.end) {
        load(now.tile, 0);
      }
      copy_async_commit();
      if (split == first_split) {
        copy_async_wait<1>();
        __syncthreads();
        if (p.query_factor != 1) {
          multiply_tile<T, W, Config::block_rows, Config::threads>(q_tile, thread, p.query_factor);
          __syncthreads();
        }
      }
      warp_type w;
      w.clear();
      int stage = 0;
#pragma unroll 1
      for (; now.tile < walk.end; stage ^= 1) {
        const std::uint32_t k_tile = warp_tiles + stage * (2 * Config::tile_bytes);
        const std::uint32_t v_tile = k_tile + Config::tile_bytes;
        const int first_key = now.tile * tile_keys;
        const walk_tile after = next(now.tile + splits * Config::warps);
        if (after.tile < walk.end) {
          load(after.tile, stage ^ 1);
        }
        copy_async_commit();
        copy_async_wait<1>();
        __syncwarp();

        w.scores(q_tile, 0, k_tile, lane);
        scores.change(w, first_key, lane);
        if (!now.whole) {
          scores.template shown<warp_type>(first_key, lane).hide_others(w);
        }
        w.weigh(score_factor<Score>(p), follows_late<Config>(p));
        if (!now.whole && (Score::masks || rows_differ(p)) &&
            __any_sync(0xffffffffu,
                       any_nonfinite_of<T, Config::tile_bytes / 16, 32>(v_tile, lane))) {
          w.add_nonfinite(v_tile, lane, [&](int m, int h, int key) {
            return scores.sees(m, h, first_key + key);
          });
          __syncwarp();
          zero_nonfinite<T, W, tile_keys, 32>(v_tile, lane);
          __syncwarp();
        }
        w.accumulate(v_tile, lane);
        __syncwarp();  // the tile may be filled again
        now = after;
      }
      w.finish_sums();

      // Every warp is done with its tiles: their memory takes the partial results.
      copy_async_wait<0>();
      __syncthreads();
      const warp_results<Config> partial{reinterpret_cast<float*>(shared_memory + Config::q_bytes)};
      partial.take(w, warp, lane);
      __syncthreads();

      if (exists) {
        const merged_row<Config> found(partial, r, score_factor<Score>(p));
        const row_fold::shares by = fold.add(found.exponent, found.sum);
        float* apart = nullptr;
        if (p.partials != nullptr && splits > 1) {
          const partial_row to = partial_row::at(p, sequence, kv_head, block_row + r, split);
          apart = to.values;
          if (slice == 0) {
            to.exponent() = found.exponent;
            to.sum() = found.sum;
          }
        }
#pragma unroll 2
        for (int at = 8 * slice; at < p.value_dim; at += 8 * slices) {
#pragma unroll
          for (int e = 0; e < 8; e += 2) {
            const float2 value = found.values(at + e);
            if (apart != nullptr) {
              *reinterpret_cast<float2*>(apart + at + e) = value;
            } else {
              float2& all = *reinterpret_cast<float2*>(gathered + at + e);
              const float2 before = split == first_split ? make_float2(0, 0) : all;
              all = make_float2(by(before.x, value.x), by(before.y, value.y));
            }
          }
        }
      }
      __syncthreads();  // the tiles' memory may be filled again
    }
    if (!exists || (p.partials != nullptr && splits > 1)) {
      continue;
    }
    const int token = token_of(r);
    const int head = head_of(r);
    const row_result result = fold.result(sink_of(p, head));
    if (p.lse != nullptr && slice == 0) {
      write_lse(p, s, head, token, result.lse);
    }
    T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] +
                   (s.q_begin + token) * p.o_strides[1] + head * p.o_strides[2];
    for (int chunk = slice; 8 * chunk < p.value_dim; chunk += slices) {
      write_values<T>(p, out, chunk, gathered + 8 * chunk, result);
    }
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
