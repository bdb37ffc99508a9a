// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

#if !defined(__CUDACC__)
namespace detail {

/// Lane `lane` of the register that step `step` of a split makes: lanes of earlier registers are in
/// place, those of register `step` come, those of later ones are open. Below, n lanes of the first
/// operand are followed by those of the second.
constexpr int split_lane(int rows, int row, int step, int lane, int n) noexcept {
  const int flat = lane * rows + row;
  const int from = flat / n;
  return from == step ? n + flat % n : from > step ? -1 : step == 1 ? flat % n : lane;
}

/// The same for register `out` of a merge, whose step `step` brings lanes of row `step`.
constexpr int merge_lane(int rows, int out, int step, int lane, int n) noexcept {
  const int flat = out * n + lane;
  const int row = flat % rows;
  return row == step ? n + flat / rows : row > step ? -1 : step == 1 ? flat / rows : lane;
}

template <int Rows, int Row, class R, int... Lane>
SEQMIX_ALWAYS_INLINE R split_row(const R (&x)[Rows], std::integer_sequence<int, Lane...>) noexcept {
  constexpr int n = sizeof...(Lane);
  R row = x[0];
  unroll<Rows - 1>([&](auto k) __attribute__((always_inline)) {
    constexpr int step = k + 1;
    row = __builtin_shufflevector(row, x[step], split_lane(Rows, Row, step, Lane, n)...);
  });
  return row;
}

template <int Rows, int Out, class R, int... Lane>
SEQMIX_ALWAYS_INLINE R merge_rows(const R (&x)[Rows],
                                  std::integer_sequence<int, Lane...>) noexcept {
  constexpr int n = sizeof...(Lane);
  R out = x[0];
  unroll<Rows - 1>([&](auto k) __attribute__((always_inline)) {
    constexpr int step = k + 1;
    out = __builtin_shufflevector(out, x[step], merge_lane(Rows, Out, step, Lane, n)...);
  });
  return out;
}

}  // namespace detail

#endif

/// Registers that hold groups of `Rows` neighbours, apart: rows[i] gets the i-th of each group.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void split(const vec<C, Arch> (&x)[Rows],
                                vec<C, Arch> (&rows)[Rows]) noexcept {
#if defined(__CUDACC__)
  // nvcc cannot expand a pack as the lanes of a shuffle.
  constexpr int n = lanes<C, Arch>;
  alignas(64) C in[Rows * n];
  alignas(64) C out[Rows * n];
  for (int i = 0; i < Rows; ++i) {
    x[i].store_aligned(in + i * n);
  }
  for (int i = 0; i < Rows * n; ++i) {
    out[i % Rows * n + i / Rows] = in[i];
  }
  for (int i = 0; i < Rows; ++i) {
    rows[i] = vec<C, Arch>::load_aligned(out + i * n);
  }
#else
  using R = typename vec<C, Arch>::register_type;
  using lane_list = std::make_integer_sequence<int, lanes<C, Arch>>;
  R in[Rows];
  unroll<Rows>([&](auto i) __attribute__((always_inline)) { in[i] = x[i]; });
  unroll<Rows>([&](auto i) __attribute__((always_inline)) {
    rows[i] = vec<C, Arch>(detail::split_row<Rows, i>(in, lane_list{}));
  });
#endif
}

/// The counterpart: x gets the groups.
template <int Rows, class C, class Arch>
SEQMIX_ALWAYS_INLINE void merge(const vec<C, Arch> (&rows)[Rows],
                                vec<C, Arch> (&x)[Rows]) noexcept {
#if defined(__CUDACC__)
  constexpr int n = lanes<C, Arch>;
  alignas(64) C in[Rows * n];
  alignas(64) C out[Rows * n];
  for (int i = 0; i < Rows; ++i) {
    rows[i].store_aligned(in + i * n);
  }
  for (int i = 0; i < Rows * n; ++i) {
    out[i] = in[i % Rows * n + i / Rows];
  }
  for (int i = 0; i < Rows; ++i) {
    x[i] = vec<C, Arch>::load_aligned(out + i * n);
  }
#else
  using R = typename vec<C, Arch>::register_type;
  using lane_list = std::make_integer_sequence<int, lanes<C, Arch>>;
  R in[Rows];
  unroll<Rows>([&](auto i) __attribute__((always_inline)) { in[i] = rows[i]; });
  unroll<Rows>([&](auto i) __attribute__((always_inline)) {
    x[i] = vec<C, Arch>(detail::merge_rows<Rows, i>(in, lane_list{}));
  });
#endif
}

}  // namespace simd

SEQMIX_END_NAMESPACE
