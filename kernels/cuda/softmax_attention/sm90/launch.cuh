// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <numeric>

#include "../../common/kernel_launch.cuh"
#include "../../common/tensor_map.hpp"
#include "prefill.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Groups of query heads lie side by side where that is a shift. Items of one length come in
/// sections of so many heads that every block of threads gets as much of a section as the others in
/// two turns, and that the L2 holds their keys and values: unless sequences are so long that all
/// blocks of threads walk over the same keys at the same time anyway. Where all rows see as many
/// keys, head follows head.
inline launch_shape shape_of(const attention_params& p, int block_rows, int processors) {
  constexpr std::int64_t l2_bytes = 24 << 20;
  constexpr std::int32_t most_packed = 64;
  const auto group = static_cast<unsigned>(p.group);
  const bool packed = std::has_single_bit(group) && group <= most_packed;
  launch_shape shape{};
  shape.shift = packed ? std::countr_zero(group) : 0;
  shape.heads = p.heads >> shape.shift;
  const std::int64_t streams = std::int64_t{p.sequences} * shape.heads;
  const std::int64_t rows = p.max_q << shape.shift;
  const std::int64_t row_blocks = std::max<std::int64_t>(1, (rows + block_rows - 1) / block_rows);
  const std::int64_t turns = 2 * std::int64_t{processors};
  const std::int64_t even = turns / std::gcd(turns, row_blocks);
  const std::int64_t head_bytes =
      std::max<std::int64_t>(1, p.max_k * (p.key_dim + p.value_dim) * 2 * shape.heads / p.kv_heads);
  const std::int64_t section =
      rows_differ(p) ? std::max<std::int64_t>(1, l2_bytes / head_bytes / even) * even : 1;
  shape.items = static_cast<std::int32_t>(streams * row_blocks);
  shape.row_blocks = static_cast<std::int32_t>(row_blocks);
  shape.section = static_cast<std::int32_t>(std::min(section, streams));
  return shape;
}

template <class Config>
bool map_tensors(const attention_params& p, const launch_shape& shape, tensor_maps& maps) {
  constexpr scalar_type type = scalar_type_of<typename Config::element>;
  constexpr int block_keys = Config::block_keys;
  const std::int64_t batches = p.packed ? 1 : p.sequences;
  maps.stores = false;
  if constexpr (Config::lays_down) {
    const mapped_tensor o{p.o, type, {batches, p.q_rows, p.heads, p.value_dim}, p.o_strides};
    constexpr int rows = 16;
    const int heads = std::min(1 << shape.shift, rows);
    maps.stores = can_map(o) && make_map(maps.o, o, rows / heads, heads);
  }
  return make_map(maps.q, {p.q, type, {batches, p.q_rows, p.heads, p.key_dim}, p.q_strides},
                  64 >> shape.shift, 1 << shape.shift) &&
         make_map(maps.k, {p.k, type, {batches, p.k_rows, p.kv_heads, p.key_dim}, p.k_strides},
                  block_keys, 1) &&
         make_map(maps.v, {p.v, type, {batches, p.k_rows, p.kv_heads, p.value_dim}, p.v_strides},
                  block_keys, 1);
}

template <class Config, class Score>
cudaError_t launch_hopper_as(const attention_params& p, const Score& score, cudaStream_t stream) {
  int ordinal = 0;
  int processors = 0;
  if (cudaError_t e = cudaGetDevice(&ordinal); e != cudaSuccess) {
    return e;
  }
  if (cudaError_t e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, ordinal);
      e != cudaSuccess) {
    return e;
  }
  launch_shape shape = shape_of(p, Config::block_rows, processors);
  shape.from_first = Score::masks;
  tensor_maps maps;
  if (!map_tensors<Config>(p, shape, maps)) {
    return cudaErrorInvalidValue;
  }
  const std::int64_t blocks = std::min<std::int64_t>(processors, shape.items);
  return launch_kernel<&hopper_prefill_kernel<Config, Score>>(
      blocks, Config::threads, Config::shared_bytes, stream, p, shape, maps, score);
}

/// The tiles of each width: of those that were measured the fastest. They do not depend on lengths,
/// since bits depend on them.
template <class T, int W>
struct hopper_tiles;
template <class T>
struct hopper_tiles<T, 64> {
  using config = hopper_config<T, 64, 64, 3, 128, 4, true>;
};
template <class T>
struct hopper_tiles<T, 96> {
  using config = hopper_config<T, 96, 96, 2, 128, 2, true>;
};
template <class T>
struct hopper_tiles<T, 128> {
  using config = hopper_config<T, 128, 128, 2, 128, 2, true>;
};
template <class T>
struct hopper_tiles<T, 192> {
  using config = hopper_config<T, 192, 192, 2, 96, 2, false>;
  using short_values = hopper_config<T, 192, 128, 2, 112, 2, true>;
};
template <class T>
struct hopper_tiles<T, 256> {
  using config = hopper_config<T, 256, 256, 2, 64, 2, false>;
};

/// With a policy of the user's unit, or with one that serves every call.
template <class T, int W, class Score>
int launch_hopper_prefill_with(const attention_params& p, const Score& score, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if constexpr (requires { typename hopper_tiles<T, W>::short_values; }) {
    using tiles = typename hopper_tiles<T, W>::short_values;
    if (p.key_dim <= tiles::key_dim && p.value_dim <= tiles::value_dim) {
      return launch_hopper_as<tiles>(p, score, on);
    }
  }
  return launch_hopper_as<typename hopper_tiles<T, W>::config>(p, score, on);
}

template <class T, int W>
int launch_hopper_prefill(const attention_params& p, void* stream) {
  return has_terms(p) ? launch_hopper_prefill_with<T, W>(p, term_score{}, stream)
                      : launch_hopper_prefill_with<T, W>(p, plain_score{}, stream);
}

/// Whether this unit's kernel for the current device is the one for sm_90a, which has items in
/// shared memory, and not the empty one of other architectures.
template <class T, int W, class Score>
bool has_hopper_code(const Score&) {
  static const bool found = [] {
    cudaFuncAttributes attributes;
    const auto kernel = &hopper_prefill_kernel<typename hopper_tiles<T, W>::config, Score>;
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel);
    if (status != cudaSuccess) {
      (void)cudaGetLastError();
    }
    return status == cudaSuccess && attributes.sharedSizeBytes > 0;
  }();
  return found;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
