// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

namespace detail {

typedef float f32x4 __attribute__((vector_size(16)));

}  // namespace detail

/// to[j][i] = from[i][j] for i, j < 4; rows lie `from_step` and `to_step` elements apart.
SEQMIX_ALWAYS_INLINE void transpose_4x4(const float* from, std::int64_t from_step, float* to,
                                        std::int64_t to_step) noexcept {
  using detail::f32x4;
  f32x4 row[4];
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&row[i], from + i * from_step, sizeof(f32x4));
  }
  const f32x4 low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const f32x4 high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const f32x4 low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const f32x4 high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  const f32x4 turned[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                           __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                           __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                           __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) {
    std::memcpy(to + i * to_step, &turned[i], sizeof(f32x4));
  }
}

/// Every second of 7 elements, from the first on.
SEQMIX_ALWAYS_INLINE void unzip_4(const float* from, float* to) noexcept {
  detail::f32x4 low;
  detail::f32x4 high;
  std::memcpy(&low, from, sizeof(low));
  std::memcpy(&high, from + 3, sizeof(high));  // no more: the eighth may not be there
  const detail::f32x4 all = __builtin_shufflevector(low, high, 0, 2, 5, 7);
  std::memcpy(to, &all, sizeof(all));
}

/// The elements of two runs of 4 in turn.
SEQMIX_ALWAYS_INLINE void zip_4(const float* first, const float* second, float* to) noexcept {
  detail::f32x4 a;
  detail::f32x4 b;
  std::memcpy(&a, first, sizeof(a));
  std::memcpy(&b, second, sizeof(b));
  const detail::f32x4 low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const detail::f32x4 high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  std::memcpy(to, &low, sizeof(low));
  std::memcpy(to + 4, &high, sizeof(high));
}

}  // namespace simd

SEQMIX_END_NAMESPACE
