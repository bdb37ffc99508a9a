// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/round_up.hpp>
#include <seqmix/ops/softmax_attention/pack.hpp>
#include <seqmix/simd/amx.hpp>
#include <seqmix/simd/words.hpp>

// Packing for products of bf16 matrices by tiles: the right operand lies in steps of 32 rows and 32
// columns, each step as two tiles [16 pairs of rows][16 columns][2].

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Rows and columns of a product, and elements of a step along its sum.
inline constexpr std::int64_t tile_side = 32;
/// Elements of one step of a panel.
inline constexpr std::int64_t tile_step = tile_side * tile_side;

/// Elements [from, from + 32) of a row, zero past `dim`; all zero for a null row. In place where
/// they lie there like this, else in `room`.
template <class Arch>
SEQMIX_ALWAYS_INLINE const bf16* dense_run(const bf16* row, std::int64_t element, std::int64_t from,
                                           std::int64_t dim, bf16* room) noexcept {
  if (row != nullptr && element == 1 && from + tile_side <= dim) {
    return row + from;
  }
  for (std::int64_t i = 0; i < tile_side; ++i) {
    room[i] = row != nullptr && from + i < dim ? row[(from + i) * element] : bf16{};
  }
  return room;
}

/// Queries as they are, [32][width], zero beyond the dimension and the `count` rows. Scaling would
/// round them.
template <class Arch, class Rows>
void pack_tile_queries(const Rows& rows, std::int64_t first, std::int64_t count, std::int64_t dim,
                       std::int64_t width, bf16* out) noexcept {
  for (std::int64_t r = 0; r < tile_side; ++r) {
    const auto query = rows.query(r < count ? first + r : first);
    for (std::int64_t d = 0; d < width; d += tile_side, out += tile_side) {
      bf16 room[tile_side];
      const bf16* run =
          dense_run<Arch>(r < count ? query.data : nullptr, query.element, d, dim, room);
      __builtin_memcpy(out, run, sizeof(room));
    }
  }
}

/// Keys into panels of 32, each [steps over the dimension][step]. A pair is two neighbours of one
/// key: a word of 32 bits, so that packing transposes words.
template <class Arch, class Rows>
void pack_tile_keys(const Rows& keys, std::int64_t count, std::int64_t dim, bf16* panels) noexcept {
  using V = simd::vec<float, Arch>;
  constexpr int w = simd::lanes<float, Arch>;
  constexpr std::int64_t columns = tile_side / 2;  // of a tile
  static_assert(columns % w == 0);
  const std::int64_t width = round_up(dim, tile_side);
  for (std::int64_t first = 0; first < round_up(count, tile_side); first += columns) {
    bf16* tile = panels + first / tile_side * tile_side * width +
                 first % tile_side / columns * tile_step / 2;
    const bf16* row[columns];
    for (std::int64_t n = 0; n < columns; ++n) {
      row[n] = first + n < count ? keys.at(first + n) : nullptr;
    }
    for (std::int64_t d = 0; d < dim; d += tile_side, tile += tile_step) {
      for (std::int64_t n = 0; n < columns; n += w) {
        bf16 room[w][tile_side];
        const bf16* run[w];
        for (int i = 0; i < w; ++i) {
          run[i] = dense_run<Arch>(row[n + i], keys.element, d, dim, room[i]);
        }
        for (std::int64_t pair = 0; pair < columns; pair += w) {
          V square[w];
          simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
            __builtin_memcpy(&square[i], run[i] + 2 * pair, sizeof(V));
          });
          simd::transpose<float, Arch>(square);
          simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
            void* at = tile + ((pair + i) * columns + n) * 2;
            __builtin_memcpy(at, &square[i], sizeof(V));
          });
        }
      }
    }
  }
}

/// Values that are NaN or infinite, apart from the others, which stay zero here: a hidden key's
/// weight of zero would make NaN of them.
struct tile_outliers {
  std::int64_t* keys;  // [capacity] those that have some, ascending
  bf16* values;        // [capacity][width]
  std::int64_t width;
  std::int64_t count = 0;
};

/// Moves the outliers of one key out of its packed words; `out` is where its first element lies.
template <class Arch>
void move_outliers(const bf16* row, std::int64_t element, std::int64_t dim, std::int64_t key,
                   std::int64_t panel_elements, bf16* out, tile_outliers& apart) noexcept {
  constexpr std::int64_t columns = tile_side / 2;
  bf16* values = apart.values + apart.count * apart.width;
  bool any = false;
  for (std::int64_t c = 0; c < apart.width; ++c) {
    values[c] = bf16{};
    if (c < dim && (row[c * element].bits & 0x7f80u) == 0x7f80u) {
      any = true;
      values[c] = row[c * element];
      out[c / tile_side * panel_elements + c % tile_side / columns * tile_step / 2 +
          c % columns * 2] = bf16{};
    }
  }
  if (any) {
    apart.keys[apart.count++] = key;
  }
}

/// Values of keys [from, from + count) into panels of 32 elements, each [capacity / 32 steps][step]
/// from the first one on. A pair is two keys' elements of the same column. Outliers go apart.
template <class Arch, class Rows>
void pack_tile_values(const Rows& values, std::int64_t from, std::int64_t count, std::int64_t dim,
                      std::int64_t capacity, bf16* panels, tile_outliers& apart) noexcept {
  using words = simd::detail::half_words<Arch>;
  using u32 = typename words::u32;
  constexpr int w = simd::lanes<float, Arch>;
  constexpr std::int64_t columns = tile_side / 2;
  const std::int64_t panel = capacity * tile_side;  // elements
  for (std::int64_t j = 0; j < round_up(count, tile_side); j += 2) {
    const bf16* row[2];
    for (std::int64_t i = 0; i < 2; ++i) {
      row[i] = j + i < count ? values.at(j + i) : nullptr;
    }
    bf16* out = panels + j / tile_side * tile_step + j % tile_side / 2 * tile_side;
    u32 probe{};
    for (std::int64_t c = 0; c < dim; c += tile_side) {
      bf16 room[2][tile_side];
      const bf16* even = dense_run<Arch>(row[0], values.element, c, dim, room[0]);
      const bf16* odd = dense_run<Arch>(row[1], values.element, c, dim, room[1]);
      simd::unroll<tile_side / w>([&](auto i) __attribute__((always_inline)) {
        constexpr std::int64_t n = i * w;
        const u32 pair = words::load(even + n) | (words::load(odd + n) << 16);
        // An exponent of all ones carries into the sign's place.
        probe |= (pair & 0x7f807f80u) + 0x00800080u;
        void* at = out + c / tile_side * panel + n / columns * tile_step / 2 + n % columns * 2;
        __builtin_memcpy(at, &pair, sizeof(pair));
      });
    }
    std::uint32_t lanes[w];
    __builtin_memcpy(lanes, &probe, sizeof(lanes));
    std::uint32_t all = 0;
    for (const std::uint32_t x : lanes) {
      all |= x;
    }
    for (std::int64_t i = 0; i < 2 && (all & 0x80008000u) != 0; ++i) {
      if (row[i] != nullptr) {
        move_outliers<Arch>(row[i], values.element, dim, from + j + i, panel, out + i, apart);
      }
    }
  }
}

/// Two registers of weights in a row, rounded to nearest even.
template <class Arch>
SEQMIX_ALWAYS_INLINE void round_weights(simd::vec<float, Arch> first, simd::vec<float, Arch> second,
                                        bf16* out) noexcept {
#if defined(__AVX512BF16__)
  if constexpr ((Arch::features & simd::feature_bf16) != 0 && simd::lanes<float, Arch> == 16) {
    const __m512bh both = _mm512_cvtne2ps_pbh(second, first);
    __builtin_memcpy(out, &both, sizeof(both));
    return;
  }
#endif
  simd::store<float, Arch>(first, out);
  simd::store<float, Arch>(second, out + simd::lanes<float, Arch>);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
