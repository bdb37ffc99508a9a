// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warp_attention.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Few query rows against a cache: the rows of a KV head's whole group of query heads lie side by
/// side, 16 to a block of threads. Each warp streams every fourth tile of keys through tiles of its
/// own, and the four results are merged in the order of the warps.
template <class Arch, class T, int D, bool Vectors>
struct decode_config {
  using element = T;
  static constexpr int dim = D;
  static constexpr bool vectors = Vectors;
  static constexpr int block_rows = 16;
  static constexpr int tile_keys = 16;
  static constexpr int warps = 4;
  static constexpr int threads = 32 * warps;
  static constexpr int stages = 2;

  static constexpr int q_bytes = block_rows * D * 2;
  static constexpr int tile_bytes = tile_keys * D * 2;
  static constexpr int warp_bytes = stages * 2 * tile_bytes;
  static constexpr int merge_bytes = warps * block_rows * (D + 2) * 4;
  static constexpr int shared_bytes =
      q_bytes + (warps * warp_bytes > merge_bytes ? warps * warp_bytes : merge_bytes);
};

/// The warps' partial results in shared memory: [warp][row][D] values, then maxima and sums.
template <class Config>
struct partial_results {
  static constexpr int D = Config::dim;
  static constexpr int rows = Config::block_rows;
  float* values;

  __device__ __forceinline__ float* row(int warp, int r) const {
    return values + (warp * rows + r) * D;
  }
  __device__ __forceinline__ float& maximum(int warp, int r) const {
    return values[Config::warps * rows * D + warp * rows + r];
  }
  __device__ __forceinline__ float& sum(int warp, int r) const {
    return values[Config::warps * rows * (D + 1) + warp * rows + r];
  }
};

template <class Config>
__global__ void __launch_bounds__(Config::threads)
    decode_kernel(const __grid_constant__ attention_params p) {
  using T = typename Config::element;
  constexpr int D = Config::dim;
  constexpr int tile_keys = Config::tile_keys;
  using warp_type = warp_attention<T, D, 1, tile_keys>;
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

  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const std::uint32_t q_tile = shared_address(shared_memory);
  const std::uint32_t warp_tiles =
      q_tile + Config::q_bytes + static_cast<std::uint32_t>(warp) * Config::warp_bytes;

  // Row r is token r / group of query head kv_head * group + r % group.
  const auto head_of = [&](int r) { return kv_head * p.group + (block_row + r) % p.group; };
  const auto token_of = [&](int r) { return (block_row + r) / p.group; };
  word* const k = static_cast<word*>(p.k) + s.batch * p.k_strides[0] + kv_head * p.k_strides[2] +
                  s.k_begin * p.k_strides[1];
  word* const v = static_cast<word*>(p.v) + s.batch * p.v_strides[0] + kv_head * p.v_strides[2] +
                  s.k_begin * p.v_strides[1];
  const auto load_keys = [&](int tile, int stage) {
    const std::uint32_t to = warp_tiles + stage * (2 * Config::tile_bytes);
    const std::int64_t first = static_cast<std::int64_t>(tile) * tile_keys;
    const int count = s.keys - static_cast<int>(first);
    fill_tile<D, tile_keys, 32, Config::vectors>(to, lane, k + first * p.k_strides[1],
                                                 p.k_strides[1], p.k_strides[3], count);
    fill_tile<D, tile_keys, 32, Config::vectors>(to + Config::tile_bytes, lane,
                                                 v + first * p.v_strides[1], p.v_strides[1],
                                                 p.v_strides[3], count);
  };

  const int last_row = static_cast<int>(min(block_row + Config::block_rows, (int)rows) - 1);
  const int tiles = (visible_end(p, s, last_row / p.group) + tile_keys - 1) / tile_keys;
  const int unmasked_tiles = visible_end(p, s, block_row / p.group) / tile_keys;

#pragma unroll
  for (int at = thread; at < Config::block_rows * D / 8; at += Config::threads) {
    const int r = at / (D / 8);
    const int chunk = at % (D / 8);
    word* const from = static_cast<word*>(p.q) + s.batch * p.q_strides[0] +
                       (s.q_begin + token_of(r)) * p.q_strides[1] + head_of(r) * p.q_strides[2] +
                       chunk * 8 * p.q_strides[3];
    fill_chunk<Config::vectors>(q_tile + shared_tile<D>::offset(r, chunk), from, p.q_strides[3],
                                block_row + r < rows);
  }
  copy_async_commit();
  if (warp < tiles) {
    load_keys(warp, 0);
  }
  copy_async_commit();
  copy_async_wait<1>();
  __syncthreads();
  if (p.query_factor != 1) {
    multiply_tile<T, D, Config::block_rows, Config::threads>(q_tile, thread, p.query_factor);
    __syncthreads();
  }

  warp_type w;
  w.clear();
  int stage = 0;
#pragma unroll 1
  for (int tile = warp; tile < tiles; tile += Config::warps, stage ^= 1) {
    const std::uint32_t k_tile = warp_tiles + stage * (2 * Config::tile_bytes);
    const std::uint32_t v_tile = k_tile + Config::tile_bytes;
    const int first_key = tile * tile_keys;
    if (tile + Config::warps < tiles) {
      load_keys(tile + Config::warps, stage ^ 1);
    }
    copy_async_commit();
    copy_async_wait<1>();
    __syncwarp();

    w.scores(q_tile, 0, k_tile, lane);
    const bool masked = tile >= unmasked_tiles;
    const auto end = [&](int, int h) {
      return visible_end(p, s, (block_row + 8 * h + (lane >> 2)) / p.group) - first_key;
    };
    if (masked) {
      w.for_each_score(lane, [&](float& x, int m, int h, int column) {
        x = column < end(m, h) ? x : warp_type::hidden;
      });
    }
    w.weigh(p.scale_log2);
    if (masked && p.causal &&
        __any_sync(0xffffffffu, has_nonfinite<T, D, tile_keys, 32>(v_tile, lane))) {
      w.add_nonfinite(v_tile, lane, end);
      __syncwarp();
      zero_nonfinite<T, D, tile_keys, 32>(v_tile, lane);
      __syncwarp();
    }
    w.accumulate(v_tile, lane);
    __syncwarp();  // the tile may be filled again
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
    for (int n = 0; n < D / 8; ++n) {
      *reinterpret_cast<float2*>(partial.row(warp, r) + 8 * n + 2 * (lane & 3)) =
          make_float2(w.o[0][n][2 * h], w.o[0][n][2 * h + 1]);
    }
    if ((lane & 3) == 0) {
      partial.maximum(warp, r) = w.maximum[0][h];
      partial.sum(warp, r) = w.sum[0][h];
    }
  }
  __syncthreads();

  const int r = thread / (Config::threads / Config::block_rows);
  const int slice = thread % (Config::threads / Config::block_rows);
  if (block_row + r >= rows) {
    return;
  }
  float maximum = warp_type::hidden;
#pragma unroll
  for (int x = 0; x < Config::warps; ++x) {
    maximum = fmaxf(maximum, partial.maximum(x, r));
  }
  const float reference = warp_type::reference_of(maximum, p.scale_log2);
  float share[Config::warps];
  float sum = 0;
#pragma unroll
  for (int x = 0; x < Config::warps; ++x) {
    share[x] = exp2_fast(fmaf(partial.maximum(x, r), p.scale_log2, -reference));
    sum = fmaf(share[x], partial.sum(x, r), sum);
  }
  const int token = token_of(r);
  const int head = head_of(r);
  if (p.lse != nullptr && slice == 0) {
    write_lse(p, s, head, token, warp_type::lse_of(maximum, sum, p.scale_log2));
  }
  T* const out = static_cast<T*>(p.o) + s.batch * p.o_strides[0] +
                 (s.q_begin + token) * p.o_strides[1] + head * p.o_strides[2];
  const float inverse = 1.0f / sum;
#pragma unroll 2
  for (int chunk = slice; chunk < D / 8; chunk += Config::threads / Config::block_rows) {
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
      pairs[e] =
          tensor_core<T>::pack(sum == 0 ? 0.0f : low * inverse, sum == 0 ? 0.0f : high * inverse);
    }
    write_chunk(p, out, chunk, pairs);
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
