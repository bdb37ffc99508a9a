// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "params.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Where one sequence lies and how long it is, whatever its offsets say inside the tensors.
struct sequence_place {
  std::int64_t batch;
  std::int64_t q_begin;
  std::int64_t k_begin;
  int queries;
  int keys;
};

__device__ __forceinline__ std::int64_t index_at(const index_vector& v, std::int64_t i) {
  const std::int64_t at = i * v.stride;
  return v.wide ? static_cast<const std::int64_t*>(v.data)[at]
                : static_cast<const std::int32_t*>(v.data)[at];
}

__device__ __forceinline__ std::int64_t clamp(std::int64_t x, std::int64_t low, std::int64_t high) {
  return x < low ? low : x > high ? high : x;
}

__device__ __forceinline__ sequence_place place_of(const attention_params& p, int sequence) {
  sequence_place s{sequence, 0, 0, static_cast<int>(p.q_rows), static_cast<int>(p.k_rows)};
  if (p.packed) {
    s.batch = 0;
    s.q_begin = clamp(index_at(p.q_offsets, sequence), 0, p.q_rows);
    s.k_begin = clamp(index_at(p.k_offsets, sequence), 0, p.k_rows);
    const std::int64_t q_end = clamp(index_at(p.q_offsets, sequence + 1), s.q_begin, p.q_rows);
    const std::int64_t k_end = clamp(index_at(p.k_offsets, sequence + 1), s.k_begin, p.k_rows);
    s.queries = static_cast<int>(clamp(q_end - s.q_begin, 0, p.max_q));
    s.keys = static_cast<int>(clamp(k_end - s.k_begin, 0, p.max_k));
  }
  if (p.k_lengths.data != nullptr) {
    s.keys = static_cast<int>(clamp(index_at(p.k_lengths, sequence), 0, s.keys));
  }
  return s;
}

__device__ __forceinline__ void write_lse(const attention_params& p, const sequence_place& s,
                                          int head, int row, float value) {
  const std::int64_t at =
      s.batch * p.lse_strides[0] + head * p.lse_strides[1] + (s.q_begin + row) * p.lse_strides[2];
  if (p.lse_double) {
    static_cast<double*>(p.lse)[at] = value;
  } else {
    static_cast<float*>(p.lse)[at] = value;
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
