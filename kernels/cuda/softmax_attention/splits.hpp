// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "params.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline constexpr int decode_block_rows = 16;  // rows of a KV head that a block takes at a time
inline constexpr int most_splits = 16;

SEQMIX_HOST_DEVICE constexpr std::int64_t decode_row_blocks(std::int64_t rows) noexcept {
  return (rows + decode_block_rows - 1) / decode_block_rows;
}

/// Into how many splits the keys of a sequence that is decoded fall, whose results are combined in
/// order. Its own lengths alone decide, since bits depend on it: one split for each 256 keys and 16
/// rows of a KV head, and at most `most_splits`.
SEQMIX_HOST_DEVICE constexpr std::int32_t splits_of(std::int64_t keys, std::int64_t rows) noexcept {
  const std::int64_t least_keys = rows <= decode_block_rows ? 256 : 256 * decode_row_blocks(rows);
  const std::int64_t wanted = (keys + least_keys - 1) / least_keys;
  return static_cast<std::int32_t>(wanted < 1 ? 1 : wanted > most_splits ? most_splits : wanted);
}

/// The most rows a KV head of a sequence that is decoded.
SEQMIX_HOST_DEVICE constexpr std::int64_t most_decode_rows(const attention_params& p) noexcept {
  const std::int64_t rows = p.max_q * p.group;
  return rows < p.decode_rows ? rows : p.decode_rows;
}

/// A split's result for one row, in `attention_params::partials`: the weighted values, padded to
/// whole chunks of eight, then the exponent that weights are relative to, and their sum.
struct partial_row {
  float* values;
  std::int32_t width;

  static constexpr std::int64_t floats(std::int32_t value_dim) noexcept {
    return padded(value_dim) + 4;
  }
  SEQMIX_HOST_DEVICE static constexpr std::int32_t padded(std::int32_t value_dim) noexcept {
    return (value_dim + 7) / 8 * 8;
  }
  SEQMIX_HOST_DEVICE static partial_row at(const attention_params& p, std::int64_t sequence,
                                           std::int64_t kv_head, std::int64_t row,
                                           std::int64_t split) noexcept {
    const std::int32_t width = padded(p.value_dim);
    const std::int64_t rows = (sequence * p.kv_heads + kv_head) * most_decode_rows(p) + row;
    return {p.partials + (rows * p.splits + split) * (width + 4), width};
  }
  SEQMIX_HOST_DEVICE float& exponent() const noexcept { return values[width]; }
  SEQMIX_HOST_DEVICE float& sum() const noexcept { return values[width + 1]; }
};

/// How many floats the partial results of a call take.
constexpr std::int64_t partial_floats(const attention_params& p) noexcept {
  return std::int64_t{p.sequences} * p.kv_heads * most_decode_rows(p) * p.splits *
         partial_row::floats(p.value_dim);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
