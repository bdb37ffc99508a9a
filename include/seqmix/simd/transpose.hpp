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

}  // namespace simd

SEQMIX_END_NAMESPACE
