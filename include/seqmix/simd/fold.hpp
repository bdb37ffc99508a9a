// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

namespace detail {

/// Of two registers in groups of 2 `half` lanes the first halves of all groups, or the second ones:
/// those of `a` and of `b` in turn.
template <class C, class Arch, int... Lane>
SEQMIX_ALWAYS_INLINE vec<C, Arch> halves_in_turn(vec<C, Arch> a, vec<C, Arch> b, auto half,
                                                 auto second,
                                                 std::integer_sequence<int, Lane...>) noexcept {
  constexpr int n = lanes<C, Arch>;
  constexpr int h = half;
  constexpr int s = second;
#if defined(__CUDACC__)
  // nvcc cannot expand a pack as the lanes of a shuffle.
  alignas(64) C in[2 * n];
  alignas(64) C out[n];
  a.store_aligned(in);
  b.store_aligned(in + n);
  for (int i = 0; i < n; ++i) {
    out[i] = in[i / h % 2 * n + i / (2 * h) * 2 * h + s * h + i % h];
  }
  return vec<C, Arch>::load_aligned(out);
#else
  using R = typename vec<C, Arch>::register_type;
  return vec<C, Arch>(R(__builtin_shufflevector(
      R(a), R(b), (Lane / h % 2 * n + Lane / (2 * h) * 2 * h + s * h + Lane % h)...)));
#endif
}

}  // namespace detail

/// f(f(x0, x1), ...) over the lanes of each of the `lanes` registers at x, in some order: lane i
/// has that of register i. The registers are used up.
template <class C, class Arch, class F>
SEQMIX_ALWAYS_INLINE vec<C, Arch> fold_each(vec<C, Arch>* x, F&& f) noexcept {
  constexpr int n = lanes<C, Arch>;
  const auto level = [&](auto half) __attribute__((always_inline)) {
    using lane_list = std::make_integer_sequence<int, n>;
    constexpr std::integral_constant<int, 0> first;
    constexpr std::integral_constant<int, 1> second;
    unroll<half>([&](auto i) __attribute__((always_inline)) {
      const vec<C, Arch> a = x[i];
      const vec<C, Arch> b = x[i + half];
      x[i] = f(detail::halves_in_turn<C, Arch>(a, b, half, first, lane_list{}),
               detail::halves_in_turn<C, Arch>(a, b, half, second, lane_list{}));
    });
  };
  if constexpr (n >= 16) {
    level(std::integral_constant<int, 8>{});
  }
  if constexpr (n >= 8) {
    level(std::integral_constant<int, 4>{});
  }
  if constexpr (n >= 4) {
    level(std::integral_constant<int, 2>{});
  }
  level(std::integral_constant<int, 1>{});
  return x[0];
}

/// The larger one of two magnitudes, of which infinity is above all numbers and NaN above infinity:
/// as words, which are in the order of the floats that they are the bits of.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> larger_magnitude(vec<C, Arch> x, vec<C, Arch> y) noexcept {
  using I = vec<std::conditional_t<sizeof(C) == 4, std::int32_t, std::int64_t>, Arch>;
  return std::bit_cast<vec<C, Arch>>(xsimd::max(std::bit_cast<I>(x), std::bit_cast<I>(y)));
}

}  // namespace simd

SEQMIX_END_NAMESPACE
