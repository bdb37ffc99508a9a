// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <seqmix/common/online_softmax.hpp>
#include <seqmix/core/round_up.hpp>
#include <seqmix/simd/fold.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// 2^x for x <= 0, exactly 1 for 0. Weights below 2^-125.5 (2^-1021.5 in double) are zero; NaN
/// stays.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> weight_below(simd::vec<C, Arch> x) noexcept {
  using powers = simd::detail::exp2_constants<C>;
  using V = simd::vec<C, Arch>;
  using I = simd::vec<typename powers::bits, Arch>;
  // The exponents' bits come out of the sum that rounds, less one: of powers from there on down to
  // the limit they are those of zero, and the polynomial is doubled.
  constexpr C bias = static_cast<C>(powers::bias - 1);
  const V rounder(powers::rounder + bias);
  const V limited = xsimd::max(V(-bias), x);  // the first argument gives way to a NaN
  const V shifted = limited + rounder;
  const V r = limited - (shifted - rounder);
  const V power = std::bit_cast<V>(std::bit_cast<I>(shifted) << powers::mantissa);
  return simd::detail::horner(powers::polynomial, r, C(2)) * power;
}

/// `Rows` numbers, up to whole registers.
template <int Rows, class C, class Arch>
inline constexpr int padded_rows = static_cast<int>(round_up(Rows, simd::lanes<C, Arch>));

/// f over the lanes of each of `Rows` registers, in an order that is the same for all, into `out`;
/// zeros behind them, up to whole registers.
template <int Rows, class C, class Arch, class F>
SEQMIX_ALWAYS_INLINE void fold_rows(const simd::vec<C, Arch> (&x)[Rows], C* out, F&& f) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr int padded = padded_rows<Rows, C, Arch>;
  V square[padded];
  simd::unroll<padded>([&](auto i) __attribute__((always_inline)) {
    if constexpr (i < Rows) {
      square[i] = x[i];
    } else {
      square[i] = V(C(0));
    }
  });
  for (int i = 0; i < padded; i += w) {
    simd::fold_each<C, Arch>(square + i, f).store_aligned(out + i);
  }
}

/// The largest lane of each of `Rows` registers, as `fold_rows` puts them.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void largest_lanes(const simd::vec<C, Arch> (&x)[Rows], C* out) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int padded = padded_rows<Rows, C, Arch>;
  if constexpr (2 * Rows > simd::lanes<C, Arch>) {
    fold_rows<Rows, C, Arch>(
        x, out, [](V a, V b) __attribute__((always_inline)) { return xsimd::max(a, b); });
  } else {
    simd::unroll<padded>([&](auto i) __attribute__((always_inline)) {
      if constexpr (i < Rows) {
        out[i] = simd::max_lanes<C, Arch>(x[i]);
      } else {
        out[i] = C(0);
      }
    });
  }
}

/// The weight sums of `Rows` rows, as `fold_rows` puts them.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void fold_sums(const softmax_state<C, Arch>* state, C* out) noexcept {
  using V = simd::vec<C, Arch>;
  V sum[Rows];
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) { sum[r] = state[r].sum; });
  fold_rows<Rows, C, Arch>(sum, out, [](V a, V b) __attribute__((always_inline)) { return a + b; });
}

/// The largest of each of `Rows` rows of `n` scores, `stride` apart, as `largest_lanes` puts them.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void largest_scores(const C* scores, std::int64_t stride, std::int64_t n,
                                         C* out) noexcept {
  using V = simd::vec<C, Arch>;
  V largest[Rows];
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    largest[r] = V::load_aligned(scores + r * stride);
  });
  for (std::int64_t j = simd::lanes<C, Arch>; j < n; j += simd::lanes<C, Arch>) {
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      largest[r] = xsimd::max(largest[r], V::load_aligned(scores + r * stride + j));
    });
  }
  largest_lanes<Rows, C, Arch>(largest, out);
}

/// The largest scores of a strip join the maxima of its rows: what exponents are now taken against,
/// and by which factor what a row has accumulated before must shrink. That is found for all rows at
/// once, if any maximum moves.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void raise_maxima(const C* largest, softmax_state<C, Arch>* state,
                                       C* reference, C* factor) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr int padded = padded_rows<Rows, C, Arch>;
  alignas(64) C before[padded] = {};
  alignas(64) C maximum[padded];
  alignas(64) C shrink[padded];
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) { before[r] = state[r].maximum; });
  bool moved = false;
  for (int i = 0; i < padded; i += w) {
    const V old = V::load_aligned(before + i);
    const V most = xsimd::max(old, V::load_aligned(largest + i));
    moved |= !xsimd::all(most == old);
    const V against = softmax_references<C, Arch>(most);
    most.store_aligned(maximum + i);
    against.store_aligned(reference + i);
    (old - against).store_aligned(shrink + i);
  }
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    state[r].maximum = maximum[r];
    factor[r] = C(1);
  });
  if (moved) {
    for (int i = 0; i < padded; i += w) {
      weight_below<C, Arch>(V::load_aligned(shrink + i)).store_aligned(shrink + i);
    }
    for (int r = 0; r < Rows; ++r) {
      factor[r] = shrink[r];
    }
  }
}

/// The weights of `n` scores, a multiple of two registers: `read(j)` has the exponents from j on,
/// `write(j, first, second)` takes two registers of weights. Returns their sum in each lane.
template <class C, class Arch, class Read, class Write>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> weigh_scores(std::int64_t n, Read read,
                                                     Write write) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  V even(C(0));
  V odd(C(0));
  for (std::int64_t j = 0; j < n; j += 2 * w) {
    const V first = weight_below<C, Arch>(read(j));
    const V second = weight_below<C, Arch>(read(j + w));
    write(j, first, second);
    even += first;
    odd += second;
  }
  return even + odd;
}

/// `online_softmax` of a strip: `Rows` rows of `n` scores, a multiple of two registers, `stride`
/// apart. The rows side by side hide what each of them waits for; each has the bits that it gets
/// alone.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void softmax_strip(C* scores, std::int64_t stride, std::int64_t n,
                                        softmax_state<C, Arch>* state, C* factor) noexcept {
  using V = simd::vec<C, Arch>;
  alignas(64) C largest[padded_rows<Rows, C, Arch>];
  alignas(64) C reference[padded_rows<Rows, C, Arch>];
  largest_scores<Rows, C, Arch>(scores, stride, n, largest);
  raise_maxima<Rows, C, Arch>(largest, state, reference, factor);
  for (int r = 0; r < Rows; ++r) {
    C* score = scores + r * stride;
    const V most(reference[r]);
    const V sum = weigh_scores<C, Arch>(
        n,
        [&](std::int64_t j)
            __attribute__((always_inline)) { return V::load_aligned(score + j) - most; },
        [&](std::int64_t j, V first, V second) __attribute__((always_inline)) {
          first.store_aligned(score + j);
          second.store_aligned(score + j + simd::lanes<C, Arch>);
        });
    state[r].sum = simd::fma(state[r].sum, V(factor[r]), sum);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
