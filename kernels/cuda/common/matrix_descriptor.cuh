// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A matrix of 16-bit elements in shared memory as the tensor cores take it: rows of 64 elements,
/// 128 bytes apart, whose 16-byte chunks are exchanged by the row's last three bits, from an
/// address that is a multiple of 1024 on. Wider ones are several such blocks.
struct matrix_descriptor {
  std::uint32_t low;  // all that differs from matrix to matrix
  std::uint32_t high;

  /// `block` is the distance in bytes of two blocks of 64 columns; it counts only where the
  /// product runs along the rows.
  static __device__ __forceinline__ matrix_descriptor of(std::uint32_t address,
                                                         std::uint32_t block = 16) {
    constexpr std::uint32_t swizzle_128 = std::uint32_t{1} << 30;
    constexpr std::uint32_t eight_rows = 1024 >> 4;
    return {((block >> 4) & 0x3fff) << 16 | ((address >> 4) & 0x3fff), swizzle_128 | eight_rows};
  }
  __device__ __forceinline__ matrix_descriptor operator+(std::uint32_t bytes) const {
    return {low + (bytes >> 4), high};
  }
  __device__ __forceinline__ std::uint64_t bits() const { return std::uint64_t{high} << 32 | low; }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
