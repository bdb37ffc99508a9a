// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <type_traits>

#include "../common/ptx.cuh"
#include "params.hpp"

// What happens to scores between the product and the mask, and masks of a user's: policies of the
// kernels' main loops, which know nothing of where a kernel holds its scores. A policy has
//
//   plain       nothing happens to scores: `change` is not there
//   masks       a mask functor has a say beside the options: `sees` and `classify`
//   factor(p)   what the softmax multiplies scores by on their way into powers of two: log2(e),
//               with the scale where they are still raw products of queries and keys
//   change(p, row, each)
//               changes one row's scores, for which `each(f)` calls `f(float& score, int key)`

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline constexpr float log2e = 1.44269504088896f;
inline constexpr float ln2 = 0.693147180559945f;

__device__ __forceinline__ float real_at(const real_vector& v, std::int64_t i) {
  const std::int64_t at = i * v.stride;
  switch (v.type) {
    case scalar_type::f64:
      return static_cast<float>(static_cast<const double*>(v.data)[at]);
    case scalar_type::f16:
      return tensor_core<f16>::unpack(static_cast<const f16*>(v.data)[at].bits);
    case scalar_type::bf16:
      return tensor_core<bf16>::unpack(static_cast<const bf16*>(v.data)[at].bits);
    default:
      return static_cast<const float*>(v.data)[at];
  }
}

/// One query row of a head.
struct score_row {
  int sequence;
  int head;
  int row;
  int queries;  // of this sequence
  int keys;

  /// A pair as functors see it. Rows and keys past the sequence's end, which nothing sees, pass for
  /// its last.
  __device__ __forceinline__ score_context with(int key) const {
    return {sequence, head, min(row, queries - 1), min(key, keys - 1), queries, keys};
  }
};

/// tanh with an error of 1e-6, and relative to small results of 1e-5, so that a wide cap changes
/// little; NaN stays.
__device__ __forceinline__ float tanh_fast(float x) {
  const float outer = 1 - 2 * reciprocal_fast(1 + exp2_fast(x * (2 * log2e)));
  return fabsf(x) < 0.0625f ? x * fmaf(x * x, -1.0f / 3, 1) : outer;
}

/// Whether a call needs more than the scores as they are.
SEQMIX_HOST_DEVICE inline bool has_terms(const attention_params& p) {
  return p.softcap > 0 || p.alibi_slopes.data != nullptr;
}

/// The scores as they are.
struct plain_score {
  static constexpr bool plain = true;
  static constexpr bool masks = false;

  static __device__ __forceinline__ float factor(const attention_params& p) { return p.scale_log2; }
};

/// Softcap and ALiBi, as the call says. Without either scores have the bits of `plain_score`.
struct term_score {
  static constexpr bool plain = false;
  static constexpr bool masks = false;

  static __device__ __forceinline__ float factor(const attention_params& p) {
    return has_terms(p) ? log2e : p.scale_log2;
  }

  template <class Each>
  __device__ __forceinline__ void change(const attention_params& p, const score_row& at,
                                         Each&& each) const {
    if (has_terms(p)) {
      to_natural(p, at, each);
    }
  }

  /// From raw products to scores in natural units, with the terms.
  template <class Each>
  static __device__ __forceinline__ void to_natural(const attention_params& p, const score_row& at,
                                                    Each&& each) {
    if (p.softcap > 0) {
      const float inner = p.scale * reciprocal_fast(p.softcap);
      each([&](float& x, int) { x = p.softcap * tanh_fast(x * inner); });
    } else {
      each([&](float& x, int) { x *= p.scale; });
    }
    if (p.alibi_slopes.data != nullptr) {
      const float slope = real_at(p.alibi_slopes, at.head);
      const int diagonal = at.row - at.queries + at.keys;
      each(
          [&](float& x, int key) { x = fmaf(-slope, static_cast<float>(abs(diagonal - key)), x); });
    }
  }
};

struct no_functor {};
template <class F>
using functor_slot = std::conditional_t<std::is_void_v<F>, no_functor, F>;

/// A user's functors on top of the terms; `void` for none of a kind.
template <class Score, class Mask>
struct functor_score : term_score {
  static constexpr bool masks = !std::is_void_v<Mask>;

  functor_slot<Score> function;
  functor_slot<Mask> mask;

  static __device__ __forceinline__ float factor(const attention_params&) { return log2e; }

  template <class Each>
  __device__ __forceinline__ void change(const attention_params& p, const score_row& at,
                                         Each&& each) const {
    to_natural(p, at, each);
    if constexpr (!std::is_void_v<Score>) {
      each([&](float& x, int key) { x = function(x, at.with(key)); });
    }
  }

  __device__ __forceinline__ bool sees(const score_row& at, int key) const {
    return mask(at.with(key));
  }
  __device__ __forceinline__ block_visibility classify(const mask_block& block) const {
    if constexpr (block_attention_mask<Mask>) {
      return mask.classify(block);
    } else {
      return block_visibility::partial;
    }
  }
};

template <class Score>
__device__ __forceinline__ float score_factor(const attention_params& p) {
  return Score::factor(p);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
