// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <seqmix/ops/softmax_attention/options.hpp>

#include "softcap.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A vector of int32 or int64 in device memory; null when not given.
struct index_vector {
  const void* data;
  std::int64_t stride;
  bool wide;
};

/// A vector of real numbers, one for each query head, in device memory; null when not given.
struct real_vector {
  const void* data;
  std::int64_t stride;
  scalar_type type;
};

/// One launch of an attention kernel: plain data, strides in elements.
struct attention_params {
  const void* q;
  const void* k;
  const void* v;
  void* o;
  void* lse;  // null: not wanted
  std::int64_t q_strides[4];
  std::int64_t k_strides[4];
  std::int64_t v_strides[4];
  std::int64_t o_strides[4];
  std::int64_t lse_strides[3];

  // Packed sequences. The offsets may hold anything: what they say is clamped to the tensors.
  index_vector q_offsets;
  index_vector k_offsets;
  index_vector k_lengths;
  std::int64_t q_rows;  // rows of the tensors' time axes
  std::int64_t k_rows;
  std::int64_t max_q;  // longest sequence
  std::int64_t max_k;

  // The mask, beside `causal`: what `visibility` has.
  std::int64_t window_left;  // `unbounded`: none
  std::int64_t window_right;
  std::int64_t sink_tokens;

  real_vector sink_logits;
  real_vector alibi_slopes;
  softcap_curve softcap;

  std::int32_t key_dim;  // elements of a row that exist, whatever the width of a kernel's tiles
  std::int32_t value_dim;
  std::int32_t sequences;
  std::int32_t heads;
  std::int32_t kv_heads;
  std::int32_t group;        // heads / kv_heads
  std::int32_t row_blocks;   // blocks of query rows for each sequence and head
  std::int32_t decode_rows;  // sequences of at most so many rows a KV head go to the decode kernel
  // Of decoding: where splits of a sequence's keys, which blocks of threads of their own take,
  // leave their results, and the most splits that there can be. Null: one block takes all in turn.
  float* partials;
  std::int32_t splits;
  float scale;         // |scale|: positive
  float scale_log2;    // |scale| log2(e)
  float alibi_unit;    // of slopes: 1 / |scale| for raw products, log2(e) with a softcap
  float query_factor;  // 1, -1 or 0: the rest of the scale
  bool packed;
  bool causal;
  bool lse_double;
  bool vectors;         // q, k and v allow copies of 16 bytes
  bool mapped;          // the copy engine of sm_90 can read them, and o is in vectors
  bool output_vectors;  // so does o
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
