// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../sequence.cuh"
#include "../tile_scores.cuh"
#include "warp_attention.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Few query rows against a cache: the rows of a KV head's whole group of query heads lie side by
/// side, 16 to a block of threads. Each warp streams every fourth tile of keys (every second of
/// wide ones) through tiles of its own, and the results are merged in the order of the warps.
template <class Arch, class T, int W, bool Vectors>
struct decode_config {
  using element = T;
  static constexpr int width = W;
  static constexpr bool vectors = Vectors;
  static constexpr int block_rows = 16;
  static constexpr int tile_keys = 16;
  static constexpr int warps = W <= 128 ? 4 : 2;
  static constexpr int threads = 32 * warps;
  static constexpr int stages = 2;

  static constexpr int q_bytes = block_rows * W * 2;
  static constexpr int tile_bytes = tile_keys * W * 2;
  static constexpr int warp_bytes = stages * 2 * tile_bytes;
  static constexpr int merge_bytes = warps * block_rows * (W + 2) * 4;
  static constexpr int shared_bytes =
      q_bytes + (warps * warp_bytes > merge_bytes ? warps * warp_bytes : merge_bytes);
};

/// The warps' partial results in shared memory: [warp][row][W] values, then references and sums.
template <class Config>
struct partial_results {
  static constexpr int W = Config::width;
  static constexpr int rows = Config::block_rows;
  float* values;

  __device__ __forceinline__ float* row(int warp, int r) const {
    return values + (warp * rows + r) * W;
  }
  __device__ __forceinline__ float& reference(int warp, int r) const {
    return values[Config::warps * rows * W + warp * rows + r];
  }
  __device__ __forceinline__ float& sum(int warp, int r) const {
    return values[Config::warps * rows * (W + 1) + warp * rows + r];
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
  const int block_row = static_cast<int>(blockIdx.x % row_blocks) * Config::block_rows;
  const int kv_head = static_cast<int>(blockIdx.x / row_blocks % kv_heads);
  const int sequence = static_cast<int>(blockIdx.x / row_blocks / kv_heads);
  const sequence_place s = place_of(p, sequence);
  const std::int64_t rows = static_cast<std::int64_t>(s.queries) * p.group;
  if (block_row >= rows || rows > p.decode_rows) {
    return;
  }

  extern __shared__ __align__(128) unsigned char shared_memory[];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const std::uint32_t q_tile = shared_address(shared_memory);
  const std::uint32_t warp_tiles =
      q_tile + Config::q_bytes + static_cast<std::uint32_t>(warp) * Config::warp_bytes;

  // Row r is token r / group of query head kv_head * group + r % group.
  const auto head_of = [&](int r) { return kv_head * p.group + (block_row + r) % p.group; };
  const auto token_of = [&](int r) { return (block_row + r) / p.group; };
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
  const int last_row = static_cast<int>(min(block_row + Config::block_rows, (int)rows) - 1);
  const tile_walk<tile_keys> walk(mask, block_row / p.group, last_row / p.group);
  const auto next = [&](int tile) {
    return next_tile(walk, tile, Config::warps, score,
                     {sequence, kv_head * p.group, (kv_head + 1) * p.group, block_row / p.group,
                      last_row / p.group + 1, 0, 0, s.queries, s.keys});
  };
  walk_tile now = next(warp);

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
  if (now.tile < walk.end) {
    load(now.tile, 0);
  }
  copy_async_commit();
  copy_async_wait<1>();
  __syncthreads();
  if (p.query_factor != 1) {
    multiply_tile<T, W, Config::block_rows, Config::threads>(q_tile, thread, p.query_factor);
    __syncthreads();
  }

  const int lane_head[2] = {head_of(lane >> 2), head_of(8 + (lane >> 2))};
  const int lane_token[2] = {token_of(lane >> 2), token_of(8 + (lane >> 2))};
  const tile_scores scores{p, score, mask, [&](int, int h) {
                             return score_row{sequence,  lane_head[h], lane_token[h],
                                              s.queries, s.keys,       slope_of(p, lane_head[h])};
                           }};
  warp_type w;
  w.clear();
  int stage = 0;
#pragma unroll 1
  for (; now.tile < walk.end; stage ^= 1) {
    const std::uint32_t k_tile = warp_tiles + stage * (2 * Config::tile_bytes);
    const std::uint32_t v_tile = k_tile + Config::tile_bytes;
    const int first_key = now.tile * tile_keys;
    const walk_tile after = next(now.tile + Config::warps);
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
        __any_sync(0xffffffffu, any_nonfinite_of<T, Config::tile_bytes / 16, 32>(v_tile, lane))) {
      w.add_nonfinite(v_tile, lane,
                      [&](int m, int h, int key) { return scores.sees(m, h, first_key + key); });
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
  const partial_results<Config> partial{reinterpret_cast<float*>(shared_memory + Config::q_bytes)};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = 8 * h + (lane >> 2);
#pragma unroll
    for (int n = 0; n < W / 8; ++n) {
      *reinterpret_cast<float2*>(partial.row(warp, r) + 8 * n + 2 * (lane & 3)) =
          make_float2(w.o[0][n][2 * h], w.o[0][n][2 * h + 1]);
    }
    if ((lane & 3) == 0) {
      partial.reference(warp, r) = w.reference[0][h];
      partial.sum(warp, r) = w.sum[0][h];
    }
  }
  __syncthreads();

  const int r = thread / (Config::threads / Config::block_rows);
  const int slice = thread % (Config::threads / Config::block_rows);
  if (block_row + r >= rows) {
    return;
  }
  float highest = warp_type::hidden;
#pragma unroll
  for (int x = 0; x < Config::warps; ++x) {
    highest = fmaxf(highest, partial.reference(x, r));
  }
  const float factor = score_factor<Score>(p);
  const float reference = reference_of(highest, factor);
  float share[Config::warps];
  float sum = 0;
#pragma unroll
  for (int x = 0; x < Config::warps; ++x) {
    share[x] = shrink_of(partial.reference(x, r), factor, reference);
    sum = fmaf(share[x], partial.sum(x, r), sum);
  }
  const int token = token_of(r);
  const int head = head_of(r);
  const row_result result = row_result::of(highest, sum, factor, sink_of(p, head));
  if (p.lse != nullptr && slice == 0) {
    write_lse(p, s, head, token, result.lse);
  }
  T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] +
                 (s.q_begin + token) * p.o_strides[1] + head * p.o_strides[2];
#pragma unroll 2
  for (int chunk = slice; chunk < (p.value_dim + 7) / 8;
       chunk += Config::threads / Config::block_rows) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float low = 0;
      float high = 0;
#pragma unroll
      for (int x = 0; x < Config::warps; ++x) {
        const float2 value =
            *reinterpret_cast<const float2*>(partial.row(x, r) + 8 * chunk + 2 * e);
        low = fmaf(share[x], value.x, low);
        high = fmaf(share[x], value.y, high);
      }
      pairs[e] = tensor_core<T>::pack(result(low), result(high));
    }
    write_chunk(p, out, chunk, pairs);
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
