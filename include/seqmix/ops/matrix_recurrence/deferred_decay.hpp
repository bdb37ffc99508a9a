// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/tokens.hpp>

// A decay multiplies every element of the state at every token, but it is known per row or for the
// whole state. So the state is kept as S~ = S / c, c the product of the decays so far, and the
// rows that meet it carry c instead:
//
//     S~_t = S~_(t-1) + (k / c_t) v^T,    o = (c_t q)^T S~_t,    S_(t-1)^T read = S~_(t-1)^T
//     (c_(t-1) read)
//
// A decay then costs a few operations for each element of a row, and none for those of the state,
// but at the tokens where c leaves its range: they multiply the state by c, which starts at 1
// again.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// c stays within a factor of 2^16 of 1: rows divided by it keep their precision, and overflow no
/// sooner than 2^-16 of the largest number.
template <class C>
inline constexpr C deferred_limit = C(65536);

template <class C>
SEQMIX_ALWAYS_INLINE bool can_defer(C c) noexcept {
  const C size = c < C(0) ? -c : c;
  return size >= 1 / deferred_limit<C> && size <= deferred_limit<C>;  // not for NaN
}

/// Works the decays of tokens [0, count) into their rows. What is left in `decay` is what the state
/// is multiplied by at tokens that `multiplies` marks; `pending` is c, before and after.
template <state_decay Decay, class C, class Arch>
void defer_decay(const token_rows<C, Arch>& rows, std::int64_t count, bool reads, bool general) {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t at = t * rows.keys;
    bool deferred = false;
    if constexpr (Decay == state_decay::scalar) {
      const C before = rows.pending[0];
      C& decay = rows.decay[t];
      decay *= before;
      deferred = !rows.cut[t] && can_defer(decay);
      rows.pending[0] = deferred ? decay : C(1);
      if (reads && before != C(1)) {
        scale_row<C, Arch>(rows.read + at, rows.keys, before);
      }
      if (deferred && decay != C(1)) {
        scale_row<C, Arch>(rows.q + at, rows.keys, decay);
        scale_row<C, Arch>(rows.k + at, rows.keys, C(1) / decay);
        if (general) {
          scale_row<C, Arch>(rows.b + at, rows.keys, C(1) / decay);
        }
      }
    } else {
      typename V::batch_bool_type inside(true);
      typename V::batch_bool_type zero(false);
      const bool late = rows.strength != nullptr;
      const V strength(late ? rows.strength[t] : C(1));
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        const V before = V::load_aligned(rows.pending + i);
        const V factor = V::load_aligned(rows.decay + at + i);
        zero = zero || factor == V(C(0));
        const V decay = before * factor;
        decay.store_aligned(rows.decay + at + i);
        const V size = xsimd::abs(decay);
        inside = inside && size >= V(1 / deferred_limit<C>) && size <= V(deferred_limit<C>);
        if (late) {
          // Delta reads the decayed state.
          const V read = V::load_aligned(rows.k + at + i) * strength * decay;
          read.store_aligned(rows.read + at + i);
        } else if (reads) {
          (V::load_aligned(rows.read + at + i) * before).store_aligned(rows.read + at + i);
        }
      }
      rows.cut[t] = xsimd::any(zero);
      deferred = !rows.cut[t] && xsimd::all(inside);
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        const V decay = V::load_aligned(rows.decay + at + i);
        (deferred ? decay : V(C(1))).store_aligned(rows.pending + i);
        if (deferred) {
          const V inverse = V(C(1)) / decay;
          (V::load_aligned(rows.q + at + i) * decay).store_aligned(rows.q + at + i);
          (V::load_aligned(rows.k + at + i) * inverse).store_aligned(rows.k + at + i);
          if (general) {
            (V::load_aligned(rows.b + at + i) * inverse).store_aligned(rows.b + at + i);
          }
        }
      }
    }
    rows.multiplies[t] = !deferred;
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
