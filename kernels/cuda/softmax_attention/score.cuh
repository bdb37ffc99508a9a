// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <type_traits>

#include "../common/ptx.cuh"
#include "../common/tile.cuh"
#include "params.hpp"
#include "softcap.cuh"

// What happens to scores between the product and the mask, and masks of a user's: policies of the
// kernels' main loops, which know nothing of where a kernel holds its scores. A policy has
//
//   plain       nothing happens to scores: `change` and `capped` are not there
//   masks       a mask functor has a say beside the options: `sees` and `classify`
//   capped(p)   all that `change` does is the softcap, which may come under the exponentials
//   factor(p)   what the softmax multiplies scores by on their way into powers of two: log2(e),
//               with the scale where they are still raw products of queries and keys; 1 where they
//               are powers of two already
//   change(p, row, first_key, each)
//               changes one row's scores, for which `each(f)` calls `f(float& score, int column)`:
//               of key first_key + column, a constant

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
  float slope;  // ALiBi's, in the terms' unit; 0 without

  /// A pair as functors see it. Rows and keys past the sequence's end, which nothing sees, pass for
  /// its last.
  __device__ __forceinline__ score_context with(int key) const {
    return {sequence, head, min(row, queries - 1), min(key, keys - 1), queries, keys};
  }
};

/// Whether a call needs more than the scores as they are.
SEQMIX_HOST_DEVICE inline bool has_terms(const attention_params& p) {
  return p.softcap.cap > 0 || p.alibi_slopes.data != nullptr;
}

/// The scores as they are.
struct plain_score {
  static constexpr bool plain = true;
  static constexpr bool masks = false;

  static __device__ __forceinline__ float factor(const attention_params& p) { return p.scale_log2; }
};

__device__ __forceinline__ float slope_of(const attention_params& p, int head) {
  return p.alibi_slopes.data == nullptr ? 0.0f : real_at(p.alibi_slopes, head) * p.alibi_unit;
}

/// Subtracts the row's slope, in `unit`s, times the distance. Columns are constants: a conversion a
/// row, not one a score.
template <class Each>
__device__ __forceinline__ void subtract_distances(const score_row& at, float unit, int first_key,
                                                   Each&& each) {
  const float slope = -at.slope * unit;
  const auto diagonal = static_cast<float>(at.row - at.queries + at.keys - first_key);
  each([&](float& x, int column) {
    x = fmaf(slope, fabsf(diagonal - static_cast<float>(column)), x);
  });
}

/// Softcap and ALiBi, as the call says. Without either scores have the bits of `plain_score`; ALiBi
/// alone leaves them raw products.
struct term_score {
  static constexpr bool plain = false;
  static constexpr bool masks = false;

  static __device__ __forceinline__ bool capped(const attention_params& p) {
    return p.softcap.cap > 0 && p.alibi_slopes.data == nullptr;
  }

  static __device__ __forceinline__ float factor(const attention_params& p) {
    return p.softcap.cap > 0 ? 1 : p.scale_log2;
  }

  template <class Each>
  static __device__ __forceinline__ void change(const attention_params& p, const score_row& at,
                                                int first_key, Each&& each) {
    if (p.softcap.cap > 0) {
      cap_scores(p.softcap, each);
    }
    // Else ptxas would keep a copy of all scores for the calls without a cap.
    each([&](float& x, int) { x = __uint_as_float(rederived(__float_as_uint(x))); });
    if (p.alibi_slopes.data != nullptr) {
      subtract_distances(at, 1, first_key, each);
    }
  }
};

struct no_functor {};
template <class F>
using functor_slot = std::conditional_t<std::is_void_v<F>, no_functor, F>;

/// A user's functors on top of the terms; `void` for none of a kind. Those of scores see natural
/// units.
template <class Score, class Mask>
struct functor_score : term_score {
  static constexpr bool masks = !std::is_void_v<Mask>;
  static constexpr bool changes = !std::is_void_v<Score>;

  static __device__ __forceinline__ bool capped(const attention_params& p) {
    return !changes && term_score::capped(p);
  }

  functor_slot<Score> function;
  functor_slot<Mask> mask;

  static __device__ __forceinline__ float factor(const attention_params& p) {
    return changes ? log2e : term_score::factor(p);
  }

  template <class Each>
  __device__ __forceinline__ void change(const attention_params& p, const score_row& at,
                                         int first_key, Each&& each) const {
    if constexpr (changes) {
      if (p.softcap.cap > 0) {
        cap_scores(p.softcap, each);
        each([&](float& x, int) { x = __fmul_rn(x, ln2); });
      } else {
        each([&](float& x, int) { x = __fmul_rn(x, p.scale); });
      }
      if (p.alibi_slopes.data != nullptr) {
        subtract_distances(at, p.softcap.cap > 0 ? ln2 : p.scale, first_key, each);
      }
      if (at.keys > 0) {  // else there is no pair to ask about
        each([&](float& x, int column) { x = function(x, at.with(first_key + column)); });
      }
    } else {
      term_score::change(p, at, first_key, each);
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
