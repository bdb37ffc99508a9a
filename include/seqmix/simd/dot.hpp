// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {
namespace detail {

/// The sums of `lanes` registers: lane i is the sum of register i.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> sum_each(const vec<C, Arch> (&x)[lanes<C, Arch>]) noexcept {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<C, float> && lanes<C, Arch> == 16) {
    // By hand, since xsimd 8.1's haddp gets this case wrong. First the four 128-bit quarters of
    // registers i, i + 4, i + 8, i + 12 are folded into the quarters of quad[i] ...
    __m512 quad[4];
    unroll<4>([&](auto i) __attribute__((always_inline)) {
      const auto fold_halves = [](__m512 a, __m512 b) __attribute__((always_inline)) {
        return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
      };
      const __m512 low = fold_halves(x[i], x[i + 4]);
      const __m512 high = fold_halves(x[i + 8], x[i + 12]);
      quad[i] = _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88),
                              _mm512_shuffle_f32x4(low, high, 0xdd));
    });
    // ... then the four lanes of each quarter.
    const __m512 even =
        _mm512_add_ps(_mm512_unpacklo_ps(quad[0], quad[1]), _mm512_unpackhi_ps(quad[0], quad[1]));
    const __m512 odd =
        _mm512_add_ps(_mm512_unpacklo_ps(quad[2], quad[3]), _mm512_unpackhi_ps(quad[2], quad[3]));
    return _mm512_add_ps(_mm512_shuffle_ps(even, odd, 0x44), _mm512_shuffle_ps(even, odd, 0xee));
  } else
#endif
  {
    return xsimd::haddp(x);
  }
}

/// `Rows` query rows against `lanes / Rows` keys: one register of scores.
template <int Rows, class C, class Arch, class K>
SEQMIX_ALWAYS_INLINE void dot_tile(const C* queries, std::int64_t query_step, const K* const* keys,
                                   std::int64_t dim, C* out, std::int64_t out_step,
                                   std::int64_t key_count) noexcept {
  constexpr int w = lanes<C, Arch>;
  constexpr int columns = w / Rows;
  vec<C, Arch> acc[w];
  unroll<w>([&](auto i) __attribute__((always_inline)) { acc[i] = vec<C, Arch>(C(0)); });
  for (std::int64_t d = 0; d < dim; d += w) {
    vec<C, Arch> query[Rows];
    unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      query[r] = vec<C, Arch>::load_aligned(queries + r * query_step + d);
    });
    unroll<columns>([&](auto c) __attribute__((always_inline)) {
      const vec<C, Arch> key = load<C, Arch>(keys[c] + d);
      // The key goes first: it streams, and compilers read a second factor again for each row.
      unroll<Rows>([&](auto r) __attribute__((always_inline)) {
        acc[r * columns + c] = simd::fma(key, query[r], acc[r * columns + c]);
      });
    });
  }
  alignas(64) C lane[w];
  sum_each<C, Arch>(acc).store_aligned(lane);
  for (std::int64_t r = 0; r < Rows; ++r) {
    for (std::int64_t c = 0; c < key_count; ++c) {
      out[r * out_step + c] = lane[r * columns + c];
    }
  }
}

}  // namespace detail

/// out[r][j] = queries[r] . keys[j] for `rows` rows and `count` keys read where they lie. `dim` is
/// a multiple of the lanes; queries are aligned. `before(j)` is called once for each key, shortly
/// before the first row meets it: the place for prefetches.
template <class C, class Arch, class K, class F>
SEQMIX_ALWAYS_INLINE void dot_rows(const C* queries, std::int64_t query_step, std::int64_t rows,
                                   const K* keys, std::int64_t key_step, std::int64_t count,
                                   std::int64_t dim, C* out, std::int64_t out_step,
                                   F&& before) noexcept {
  constexpr int w = lanes<C, Arch>;
  const auto run = [&](auto tile, std::int64_t r) __attribute__((always_inline)) {
    constexpr int n = decltype(tile)::value;
    constexpr int columns = w / n;
    for (std::int64_t j = 0; j < count; j += columns) {
      const std::int64_t valid = count - j < columns ? count - j : columns;
      for (std::int64_t c = 0; r == 0 && c < valid; ++c) {
        before(j + c);
      }
      const K* row[columns];
      for (std::int64_t c = 0; c < columns; ++c) {
        row[c] = keys + (j + (c < valid ? c : 0)) * key_step;
      }
      detail::dot_tile<n, C, Arch>(queries + r * query_step, query_step, row, dim,
                                   out + r * out_step + j, out_step, valid);
    }
  };
  // More rows a tile share each key's load; every row's sums are the same chains in any tile.
  std::int64_t r = 0;
  if constexpr (w >= 4) {
    for (; r + 4 <= rows; r += 4) {
      run(std::integral_constant<int, 4>{}, r);
    }
  }
  for (; r + 2 <= rows; r += 2) {
    run(std::integral_constant<int, 2>{}, r);
  }
  for (; r < rows; ++r) {
    run(std::integral_constant<int, 1>{}, r);
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
