// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/math.hpp>
#include <seqmix/simd/transpose.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// `count` rows of `dim` elements, read with any strides: one head of one sequence.
template <class T>
struct strided_rows {
  const T* data;
  std::int64_t row;      // stride between rows
  std::int64_t element;  // stride between elements

  SEQMIX_ALWAYS_INLINE const T* at(std::int64_t i) const noexcept { return data + i * row; }
};

/// Asks for a row of memory ahead of its use.
template <class T>
SEQMIX_ALWAYS_INLINE void prefetch_row(const T* row, std::int64_t elements) noexcept {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t i = 0; i < elements; i += line) {
    __builtin_prefetch(row + i);
  }
}

/// Rows of integers, each with a scale: `scale(i)`.
template <class Rows, class Scale>
struct scaled_rows : Rows {
  Scale scale;
};

/// The factor of a row that has none.
struct no_scale {};

template <class C, class Rows>
SEQMIX_ALWAYS_INLINE auto scale_of(const Rows& rows, std::int64_t i) noexcept {
  if constexpr (requires { rows.scale(i); }) {
    return static_cast<C>(rows.scale(i));
  } else {
    return no_scale{};
  }
}

template <class V>
SEQMIX_ALWAYS_INLINE V scaled(V x, no_scale) noexcept {
  return x;
}
template <class V, class C>
SEQMIX_ALWAYS_INLINE V scaled(V x, C scale) noexcept {
  return x * V(scale);
}

/// Elements of a row from `d` on as numbers, in a register.
template <class C, class Arch, class T, class Scale>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> load_numbers(const T* row, std::int64_t element,
                                                     std::int64_t d, std::int64_t dim,
                                                     Scale scale) noexcept {
  return scaled(simd::load_strided<C, Arch>(row, element, d, dim), scale);
}

// What follows takes `strided_rows`, or other rows with `at` and `element`, scaled or not.

/// Keys into panels of `columns` keys, each panel [dim][columns]; missing keys of the last panel
/// are zero.
template <class C, class Arch, class Rows>
void pack_keys(const Rows& keys, std::int64_t count, std::int64_t dim, C* panels) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr std::int64_t columns = simd::tile_shape<Arch>::template columns<C>;
  for (std::int64_t first = 0; first < count; first += w) {
    const std::int64_t present = count - first < w ? count - first : w;
    decltype(keys.at(0)) row[w];
    decltype(scale_of<C>(keys, 0)) scale[w];
    for (std::int64_t i = 0; i < w; ++i) {
      const std::int64_t key = i < present ? first + i : first;
      row[i] = keys.at(key);
      scale[i] = scale_of<C>(keys, key);
    }
    C* out = panels + first / columns * columns * dim + first % columns;
    const std::int64_t whole =
        present == w ? simd::whole_lanes<C, Arch>(keys.element, 0, dim, dim) : 0;
    for (std::int64_t d = 0; d < whole; d += w) {
      V square[w];
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        square[i] = scaled(simd::load<C, Arch>(row[i] + d), scale[i]);
      });
      simd::transpose<C, Arch>(square);
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        square[i].store_aligned(out + (d + i) * columns);
      });
    }
    for (std::int64_t d = whole; d < dim; d += w) {
      V square[w];
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        square[i] =
            i < present ? load_numbers<C, Arch>(row[i], keys.element, d, dim, scale[i]) : V(C(0));
      });
      simd::transpose<C, Arch>(square);
      const std::int64_t rest = dim - d;
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        if (i < rest) {
          square[i].store_aligned(out + (d + i) * columns);
        }
      });
    }
  }
  // Of a panel that has no key in its second half, or in more.
  for (std::int64_t first = (count + w - 1) / w * w; first % columns != 0; first += w) {
    C* out = panels + first / columns * columns * dim + first % columns;
    for (std::int64_t d = 0; d < dim; ++d) {
      V(C(0)).store_aligned(out + d * columns);
    }
  }
}

/// Values into panels of `columns` elements, each panel [capacity][columns] with the first `count`
/// rows set. Returns whether all are finite: 0 x is zero for a finite x and NaN for any other.
template <class C, class Arch, class Rows>
bool pack_values(const Rows& values, std::int64_t count, std::int64_t dim, std::int64_t capacity,
                 C* panels) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr int width = simd::tile_shape<Arch>::width;
  constexpr std::int64_t columns = width * w;
  const std::int64_t whole =
      simd::whole_lanes<C, Arch>(values.element, 0, dim, dim) / columns * columns;
  V probe[width];
  simd::unroll<width>([&](auto c) __attribute__((always_inline)) { probe[c] = V(C(0)); });
  for (std::int64_t j = 0; j < count; ++j) {
    const auto* row = values.at(j);
    const auto scale = scale_of<C>(values, j);
    C* out = panels + j * columns;
    const auto keep = [&](auto c, V x) __attribute__((always_inline)) {
      x.store_aligned(out + c * w);
      probe[c] = simd::fma(x, V(C(0)), probe[c]);
    };
    for (std::int64_t d = 0; d < whole; d += columns, out += capacity * columns) {
      simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
        keep(c, scaled(simd::load<C, Arch>(row + d + c * w), scale));
      });
    }
    for (std::int64_t d = whole; d < dim; d += columns, out += capacity * columns) {
      simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
        keep(c, load_numbers<C, Arch>(row, values.element, d + c * w, dim, scale));
      });
    }
  }
  V sum(C(0));
  simd::unroll<width>([&](auto c) __attribute__((always_inline)) { sum += probe[c]; });
  return simd::sum_lanes<C, Arch>(sum) == C(0);
}

/// Rows into a dense [count][stride] array, zero beyond `dim`. `before(j)` is called ahead of row
/// j: the place for prefetches.
template <class C, class Arch, class Rows, class F>
void copy_rows(const Rows& rows, std::int64_t count, std::int64_t dim, std::int64_t stride, C* out,
               F&& before) noexcept {
  for (std::int64_t j = 0; j < count; ++j) {
    before(j);
    const auto* row = rows.at(j);
    const auto scale = scale_of<C>(rows, j);
    for (std::int64_t d = 0; d < stride; d += simd::lanes<C, Arch>) {
      load_numbers<C, Arch>(row, rows.element, d, dim, scale).store_aligned(out + j * stride + d);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
