// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/simd/fma.hpp>
#include <seqmix/simd/load.hpp>
#include <type_traits>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// `f(constant<0>) ... f(constant<N - 1>)`, spelled out by the compiler: accumulators indexed by
/// the constants stay in registers, which an unrolled loop does not promise.
template <int N, class F>
SEQMIX_ALWAYS_INLINE void unroll(F&& f) noexcept {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }(std::make_integer_sequence<int, N>{});
}

/// The register tile of a matrix product: `rows` x `width` registers of accumulators, with room
/// left for a row of B and one broadcast of A.
template <class Arch>
struct tile_shape {
  static constexpr int rows = register_count<Arch> >= 32 ? 12 : 6;
  static constexpr int width = 2;
  template <class C>
  static constexpr int columns = width * lanes<C, Arch>;
};

/// acc[r][c] += sum over k < n of a[r * a_row + k * a_step] * b[k * b_step + c]. Each accumulator
/// is one chain of fused multiply-adds in the order of k, whatever Rows is: a row's bits do not
/// depend on its neighbours.
template <int Rows, int Width, class C, class Arch, class B>
SEQMIX_ALWAYS_INLINE void multiply_add(vec<C, Arch> (&acc)[Rows][Width], const C* a,
                                       std::int64_t a_row, std::int64_t a_step, const B* b,
                                       std::int64_t b_step, std::int64_t n) noexcept {
  using V = vec<C, Arch>;
  for (std::int64_t k = 0; k < n; ++k) {
    V right[Width];
    unroll<Width>([&](auto c) __attribute__((always_inline)) {
      right[c] = load<C, Arch>(b + c * lanes<C, Arch>);
    });
    unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      const V left(a[r * a_row]);
      unroll<Width>([&](auto c) __attribute__((always_inline)) {
        acc[r][c] = simd::fma(left, right[c], acc[r][c]);
      });
    });
    a += a_step;
    b += b_step;
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
