// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <seqmix/ops/selective_scan/decay.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A state after a token: 2^exponent h + w b, by the rule of decay.hpp. The exponent is one rounded
/// product, as its range is not known here: of the product a whole part is split off exactly, and
/// two limits before do what takes four around `decay`'s two fused products.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> next_state(simd::vec<C, Arch> h,
                                                   simd::vec<C, Arch> exponent,
                                                   simd::vec<C, Arch> w,
                                                   simd::vec<C, Arch> b) noexcept {
  using constants = scan_constants<C>;
  using V = simd::vec<C, Arch>;
  using I = simd::vec<typename constants::bits, Arch>;
  // The first argument is the one that a NaN in the second replaces. Powers go from -bias, whose
  // bits are those of zero, to bias.
  const V limited =
      xsimd::min(V(constants::bias + C(0.49)), xsimd::max(V(-constants::bias), exponent));
  const V rounder(constants::rounder + constants::bias);
  const V shifted = limited + rounder;
  const V r = limited - (shifted - rounder);
  const V scale = std::bit_cast<V>(std::bit_cast<I>(shifted) << constants::mantissa);
  const V growth = scan_polynomial<C, Arch>(constants::growth, r) * r;
  const V scaled = scale * h;
  return simd::fma(growth, scaled, simd::fma(w, b, scaled));
}

/// Rows that a channel's states meet, of one channel or, with steps, of several.
template <class C>
struct step_rows {
  const C* a;
  std::int64_t a_step;
  const C* b;
  std::int64_t b_step;  // 0 where all channels share the row
  const C* c;
  std::int64_t c_step;
  const C* dt;
  const C* w;

  SEQMIX_ALWAYS_INLINE step_rows from(std::int64_t i) const noexcept {
    return {a + i * a_step, a_step, b + i * b_step, b_step, c + i * c_step, c_step, dt + i, w + i};
  }
};

/// Steps numbers [first, last) of the states of `Ways` channels, side by side so that exponentials
/// overlap, and adds their part of the outputs to `sums`. `Shared`: all channels have one b and c.
/// `Registers`: how many registers that is, or 0 where it shall be told at run time.
template <int Ways, bool Shared, int Registers, class C, class Arch, class States>
SEQMIX_ALWAYS_INLINE void step_channels(const step_rows<C>& x, States&& states, std::int64_t first,
                                        std::int64_t last,
                                        simd::vec<C, Arch> (&sums)[Ways]) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  V steps[Ways];
  V writes[Ways];
  simd::unroll<Ways>([&](auto i) __attribute__((always_inline)) {
    steps[i] = V(x.dt[i]);
    writes[i] = V(x.w[i]);
  });
  const auto step = [&](std::int64_t n) __attribute__((always_inline)) {
    const V b = V::load_unaligned(x.b + n);
    const V c = V::load_unaligned(x.c + n);
    simd::unroll<Ways>([&](auto i) __attribute__((always_inline)) {
      const V rate = V::load_unaligned(x.a + i * x.a_step + n);
      const V own_b = Shared ? b : V::load_unaligned(x.b + i * x.b_step + n);
      const V own_c = Shared ? c : V::load_unaligned(x.c + i * x.c_step + n);
      const V next = next_state<C, Arch>(states.load(i, n), steps[i] * rate, writes[i], own_b);
      states.store(i, n, next);
      sums[i] = simd::fma(own_c, next, sums[i]);
    });
  };
  if constexpr (Registers > 0) {
    simd::unroll<Registers>([&](auto k)
                                __attribute__((always_inline)) { step(first + k * lanes); });
  } else {
    for (std::int64_t n = first; n < last; n += lanes) {
      step(n);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
