// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/convert.hpp>
#include <seqmix/simd/bytes.hpp>
#include <seqmix/simd/half.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// A register of consecutive elements in the compute type.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE vec<C, Arch> load(const T* p) noexcept {
  if constexpr (std::is_same_v<T, C>) {
    return vec<C, Arch>::load_unaligned(p);
  } else if constexpr (std::is_same_v<C, float> && sizeof(T) == 2) {
    return detail::load_half<Arch>(p);
  } else if constexpr (std::is_same_v<C, float> && std::is_same_v<T, std::int8_t>) {
    return load_bytes<Arch>(p);
  } else {
    alignas(64) C lane[lanes<C, Arch>];
    for (int i = 0; i < lanes<C, Arch>; ++i) {
      lane[i] = seqmix::detail::widen<C>(p[i]);
    }
    return vec<C, Arch>::load_aligned(lane);
  }
}

/// The counterpart: a register into consecutive elements of the storage type.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void store(vec<C, Arch> x, T* p) noexcept {
  if constexpr (std::is_same_v<T, C>) {
    x.store_unaligned(p);
  } else if constexpr (std::is_same_v<C, float> && sizeof(T) == 2) {
    detail::store_half<Arch>(x, p);
  } else {
    alignas(64) C lane[lanes<C, Arch>];
    x.store_aligned(lane);
    for (int i = 0; i < lanes<C, Arch>; ++i) {
      p[i] = seqmix::detail::narrow<T>(lane[i]);
    }
  }
}

namespace detail {

/// An instruction set's own, though its bytes are those of all that have as many lanes: what units
/// for different ones share is a symbol of neither.
template <class C, class Arch>
struct counted {
  alignas(64) C lane[lanes<C, Arch>];
  constexpr counted() noexcept : lane{} {
    for (int i = 0; i < lanes<C, Arch>; ++i) {
      lane[i] = static_cast<C>(i);
    }
  }
};
template <class C, class Arch>
inline constexpr counted<C, Arch> counted_lanes{};

}  // namespace detail

/// 0, 1, 2 ... in the lanes.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE vec<C, Arch> lane_numbers() noexcept {
  return vec<C, Arch>::load_aligned(detail::counted_lanes<C, Arch>.lane);
}

/// Elements [i, i + lanes) of a strided row of `n`; lanes past the end are zero and their memory is
/// not touched.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE vec<C, Arch> load_strided(const T* row, std::int64_t stride, std::int64_t i,
                                               std::int64_t n) noexcept {
  constexpr int w = lanes<C, Arch>;
  if (stride == 1 && i + w <= n) {
    return load<C, Arch>(row + i);
  }
  alignas(64) C lane[w] = {};
  for (std::int64_t j = 0; j < w && i + j < n; ++j) {
    lane[j] = seqmix::detail::widen<C>(row[(i + j) * stride]);
  }
  return vec<C, Arch>::load_aligned(lane);
}

/// The counterpart: writes the elements [i, i + lanes) that exist, in the storage type.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void store_strided(vec<C, Arch> x, T* row, std::int64_t stride, std::int64_t i,
                                        std::int64_t n) noexcept {
  constexpr int w = lanes<C, Arch>;
  if (stride == 1 && i + w <= n) {
    store<C, Arch>(x, row + i);
    return;
  }
  alignas(64) C lane[w];
  x.store_aligned(lane);
  for (std::int64_t j = 0; j < w && i + j < n; ++j) {
    row[(i + j) * stride] = seqmix::detail::narrow<T>(lane[j]);
  }
}

/// How many of the elements [first, first + width) of a row of `n` fill whole registers in a row.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE std::int64_t whole_lanes(std::int64_t stride, std::int64_t first,
                                              std::int64_t n, std::int64_t width) noexcept {
  constexpr std::int64_t w = lanes<C, Arch>;
  const std::int64_t left = n - first < width ? n - first : width;
  return stride != 1 || left < 0 ? 0 : left / w * w;
}

/// Elements [first, first + width) of a strided row of `n`, times `factor`, into aligned memory;
/// zeros past the end, up to whole registers.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void load_row(const T* row, std::int64_t stride, std::int64_t first,
                                   std::int64_t n, C factor, C* out, std::int64_t width) noexcept {
  constexpr std::int64_t w = lanes<C, Arch>;
  const vec<C, Arch> f(factor);
  const std::int64_t whole = whole_lanes<C, Arch>(stride, first, n, width);
  for (std::int64_t i = 0; i < whole; i += w) {
    (load<C, Arch>(row + first + i) * f).store_aligned(out + i);
  }
  for (std::int64_t i = whole; i < width; i += w) {
    (load_strided<C, Arch>(row, stride, first + i, n) * f).store_aligned(out + i);
  }
}

/// The counterpart: aligned elements, times `factor`, to the elements [first, first + width) that
/// exist.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void store_row(const C* from, C factor, T* row, std::int64_t stride,
                                    std::int64_t first, std::int64_t n,
                                    std::int64_t width) noexcept {
  constexpr std::int64_t w = lanes<C, Arch>;
  using V = vec<C, Arch>;
  const V f(factor);
  const std::int64_t whole = whole_lanes<C, Arch>(stride, first, n, width);
  for (std::int64_t i = 0; i < whole; i += w) {
    store<C, Arch>(V::load_aligned(from + i) * f, row + first + i);
  }
  for (std::int64_t i = whole; i < width && first + i < n; i += w) {
    store_strided<C, Arch>(V::load_aligned(from + i) * f, row, stride, first + i, n);
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
