// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

#if !defined(__CUDACC__)
namespace detail {

/// Lane `lane` of the first (second where `second`) register that exchanges blocks of `block` lanes
/// between two: n lanes of the one are followed by those of the other.
constexpr int exchanged_lane(int block, bool second, int lane, int n) noexcept {
  const bool from_other = lane / block % 2 != 0;
  return from_other ? n + lane - (second ? 0 : block) : lane + (second ? block : 0);
}

/// The same of neighbours in turn, within 16 bytes of `run` lanes.
constexpr int zipped_lane(int run, bool second, int lane, int n) noexcept {
  const int within = lane % run;
  return lane - within + (second ? run / 2 : 0) + within / 2 + (within % 2 != 0 ? n : 0);
}

template <int Block, int Run, class R, int... Lane>
SEQMIX_ALWAYS_INLINE void exchange(R& x, R& y, std::integer_sequence<int, Lane...>) noexcept {
  constexpr int n = sizeof...(Lane);
  const R first = x;
  const R second = y;
  if constexpr (Block == 0) {
    x = __builtin_shufflevector(first, second, zipped_lane(Run, false, Lane, n)...);
    y = __builtin_shufflevector(first, second, zipped_lane(Run, true, Lane, n)...);
  } else {
    x = __builtin_shufflevector(first, second, exchanged_lane(Block, false, Lane, n)...);
    y = __builtin_shufflevector(first, second, exchanged_lane(Block, true, Lane, n)...);
  }
}

}  // namespace detail
#endif

/// As many registers as each has lanes, a square: x[j][i] = x[i][j]. A pointer: clang 14 takes a
/// reference to an array of these, with nothing before it, for a variable's initialiser.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void transpose(vec<C, Arch>* x) noexcept {
  constexpr int w = lanes<C, Arch>;
#if defined(__CUDACC__)
  // nvcc cannot expand a pack as the lanes of a shuffle.
  alignas(64) C from[w][w];
  alignas(64) C to[w][w];
  for (int i = 0; i < w; ++i) {
    x[i].store_aligned(from[i]);
  }
  for (int i = 0; i < w * w; ++i) {
    to[i % w][i / w] = from[i / w][i % w];
  }
  for (int i = 0; i < w; ++i) {
    x[i] = vec<C, Arch>::load_aligned(to[i]);
  }
#else
  using R = typename vec<C, Arch>::register_type;
  constexpr int run = 16 / static_cast<int>(sizeof(C));
  using lane_list = std::make_integer_sequence<int, w>;
  R r[w];
  unroll<w>([&](auto i) __attribute__((always_inline)) { r[i] = x[i]; });
  // Squares of 16 bytes a side: neighbours in turn, which one instruction does ...
  unroll<w / 2>([&](auto i) __attribute__((always_inline)) {
    detail::exchange<0, run>(r[2 * i], r[2 * i + 1], lane_list{});
  });
  if constexpr (run == 4) {
    // ... then pairs of them; of rows 0 to 3 the second and the third have changed places.
    unroll<w / 4>([&](auto i) __attribute__((always_inline)) {
      detail::exchange<2, run>(r[4 * i], r[4 * i + 2], lane_list{});
      detail::exchange<2, run>(r[4 * i + 1], r[4 * i + 3], lane_list{});
      const R third = r[4 * i + 1];
      r[4 * i + 1] = r[4 * i + 2];
      r[4 * i + 2] = third;
    });
  }
  // Then these squares change places, by halves and by quarters.
  const auto blocks = [&](auto block) __attribute__((always_inline)) {
    constexpr int b = decltype(block)::value;
    unroll<w / 2>([&](auto i) __attribute__((always_inline)) {
      constexpr int row = i / b * 2 * b + i % b;
      detail::exchange<b, run>(r[row], r[row + b], lane_list{});
    });
  };
  if constexpr (w >= 2 * run) {
    blocks(std::integral_constant<int, run>{});
  }
  if constexpr (w >= 4 * run) {
    blocks(std::integral_constant<int, 2 * run>{});
  }
  unroll<w>([&](auto i) __attribute__((always_inline)) { x[i] = vec<C, Arch>(r[i]); });
#endif
}

}  // namespace simd

SEQMIX_END_NAMESPACE
