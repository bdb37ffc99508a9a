// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <seqmix/simd/math.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The running maximum (in powers of two) and weight sum (kept per lane) of one row.
template <class C, class Arch>
struct softmax_state {
  C maximum = -std::numeric_limits<C>::infinity();
  // Not in braces: xsimd 8 would take them for a list of lanes.
  simd::vec<C, Arch> sum = simd::vec<C, Arch>(C(0));
};

/// What exponents are taken against: a row that has seen no key yet uses 0, since
/// -inf - -inf is NaN.
template <class C>
SEQMIX_ALWAYS_INLINE C softmax_reference(C maximum) noexcept {
  return maximum == -std::numeric_limits<C>::infinity() ? C(0) : maximum;
}

/// The same of a register of rows.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> softmax_references(simd::vec<C, Arch> maxima) noexcept {
  using V = simd::vec<C, Arch>;
  return xsimd::select(maxima == V(-std::numeric_limits<C>::infinity()), V(C(0)), maxima);
}

/// 2^x of one number, with the bits that whole registers get.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE C exp2_of(C x) noexcept {
  alignas(64) C lane[simd::lanes<C, Arch>];
  simd::exp2<C, Arch>(simd::vec<C, Arch>(x)).store_aligned(lane);
  return lane[0];
}

/// The largest of `n` numbers (a multiple of the lanes) joins the row's maximum.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void take_maximum(const C* score, std::int64_t n,
                                       softmax_state<C, Arch>& state) noexcept {
  using V = simd::vec<C, Arch>;
  V largest(state.maximum);
  for (std::int64_t j = 0; j < n; j += simd::lanes<C, Arch>) {
    largest = xsimd::max(largest, V::load_aligned(score + j));
  }
  state.maximum = simd::max_lanes<C, Arch>(largest);
}

/// Turns `n` scores (a multiple of the lanes; masked ones -inf) into weights 2^(s - max) in place.
/// Returns the factor by which what the row has accumulated before must shrink; exactly 1 when the
/// maximum did not move, which each row decides alone.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE C online_softmax(C* score, std::int64_t n,
                                      softmax_state<C, Arch>& state) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  const C before = state.maximum;
  take_maximum<C, Arch>(score, n, state);
  const V reference(softmax_reference(state.maximum));

  C factor(1);
  if (!(state.maximum == before)) {
    factor = exp2_of<C, Arch>(before - softmax_reference(state.maximum));
  }
  V sum(C(0));
  for (std::int64_t j = 0; j < n; j += w) {
    const V weight = simd::exp2<C, Arch>(V::load_aligned(score + j) - reference);
    weight.store_aligned(score + j);
    sum += weight;
  }
  state.sum = simd::fma(state.sum, V(factor), sum);
  return factor;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
