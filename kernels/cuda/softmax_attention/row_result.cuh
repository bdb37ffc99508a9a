// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../common/tile.cuh"
#include "score.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The score of a pair that a mask hides.
inline constexpr float hidden_score = -__builtin_huge_valf();
inline constexpr float reference_slack = 8;  // powers of two

/// Weights are relative to a reference which follows the row's largest score, but only when that
/// has grown by more than a factor of 2^8: up to there weights and sums lose nothing, and
/// what was accumulated need not shrink. Each row decides alone, so that its bits depend on nothing
/// else. Returns what is to be multiplied with what was accumulated: exactly one where the
/// reference stays.
__device__ __forceinline__ float follow(float& reference, float most, float factor) {
  // A row without any score yet moves with its first; while it has none the difference is NaN.
  const bool moves = (most - reference) * factor > reference_slack;
  const float shrink = moves ? exp2_fast((reference - most) * factor) : 1.0f;
  reference = moves ? most : reference;
  return shrink;
}

/// The exponent that weights are relative to; a row that has seen no score yet uses zero.
__device__ __forceinline__ float reference_of(float maximum, float factor) {
  return maximum == hidden_score ? 0.0f : __fmul_rn(maximum, factor);
}

/// What sums under an older, or a warp's own, maximum are multiplied by. Exactly one where the
/// reference is that maximum's: the product must be rounded as in `reference_of`, not fused.
__device__ __forceinline__ float shrink_of(float maximum, float factor, float reference) {
  return exp2_fast(__fmul_rn(maximum, factor) - reference);
}

/// What a row's accumulated values are multiplied by, and its log-sum-exp. Without any weight the
/// values are zero, and are multiplied by zero. No branches: a row's end is a chain of waits, and
/// those of two rows go side by side.
struct row_result {
  float multiplier;
  float lse;

  /// The end of a row. A sink logit is one more key, without a value, that enters once, here.
  static __device__ __forceinline__ row_result of(float maximum, float sum, float factor,
                                                  float sink) {
    const float own = __fmul_rn(maximum, factor);
    const float top = sink * log2e > own ? sink * log2e : own;
    const float reference = top == hidden_score ? 0.0f : top;
    const float shrink = exp2_fast(own - reference);
    const float total = fmaf(sum, shrink, exp2_fast(sink * log2e - reference));
    return {total == 0 ? 0.0f : shrink * reciprocal_fast(total),
            (reference + log2_fast(total)) * ln2};
  }

  __device__ __forceinline__ float operator()(float value) const { return value * multiplier; }
};

/// Results of parts of a row's keys, gathered one after the other. Exponents are what weights are
/// relative to.
struct row_fold {
  float exponent = hidden_score;
  float sum = 0;

  /// What was gathered so far is to be multiplied by `before`, and the part's values by `part`.
  struct shares {
    float before;
    float part;

    __device__ __forceinline__ float operator()(float value, float of_part) const {
      return fmaf(value, before, __fmul_rn(of_part, part));
    }
  };
  __device__ __forceinline__ shares add(float part_exponent, float part_sum) {
    const float top = fmaxf(exponent, part_exponent);
    const float reference = reference_of(top, 1);
    const shares by{shrink_of(exponent, 1, reference), shrink_of(part_exponent, 1, reference)};
    exponent = top;
    sum = by(sum, part_sum);
    return by;
  }
  __device__ __forceinline__ row_result result(float sink) const {
    return row_result::of(exponent, sum, 1, sink);
  }
};

/// The sink logit of a head; minus infinity for none.
__device__ __forceinline__ float sink_of(const attention_params& p, int head) {
  return p.sink_logits.data == nullptr ? hidden_score : real_at(p.sink_logits, head);
}

/// Writes those of eight elements of an output row that exist.
template <class T>
__device__ __forceinline__ void write_chunk(const attention_params& p, T* row, int chunk,
                                            const std::uint32_t (&pairs)[4]) {
  T* const to = row + chunk * 8 * p.o_strides[3];
  // Not `elements == 8`: ptxas 13.0 makes that false where more than eight are left.
  if (p.output_vectors && 8 * chunk + 8 <= p.value_dim) {
    *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    return;
  }
  const int elements = elements_of_chunk(chunk, p.value_dim);
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    if (e < elements) {
      to[e * p.o_strides[3]].bits = static_cast<std::uint16_t>(pairs[e / 2] >> (16 * (e % 2)));
    }
  }
}

/// The same from eight weighted values.
template <class T>
__device__ __forceinline__ void write_values(const attention_params& p, T* row, int chunk,
                                             const float* values, const row_result& result) {
  std::uint32_t pairs[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    pairs[e] = tensor_core<T>::pack(result(values[2 * e]), result(values[2 * e + 1]));
  }
  write_chunk(p, row, chunk, pairs);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
