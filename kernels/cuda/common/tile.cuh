// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ptx.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A tile of rows of D 16-bit elements in shared memory. The 16-byte chunks of a row are exchanged
/// by the row's last three bits, so that ldmatrix, which reads one chunk column of eight rows, and
/// the writers, which fill rows, both touch every bank once.
template <int D>
struct shared_tile {
  static constexpr int chunks = D / 8;
  static constexpr int row_bytes = D * 2;

  static __device__ __forceinline__ std::uint32_t offset(int row, int chunk) {
    return static_cast<std::uint32_t>(row * row_bytes + ((chunk ^ (row & 7)) << 4));
  }

  // For ldmatrix: the address that a lane contributes for the 16 x 16 elements in the tile's
  // corner. Those of `columns` chunk pairs further right are `corner ^ right(columns)`, since a
  // tile starts on a multiple of a row; those further down are `corner + down(rows)`, rows a
  // multiple of 8.
  static __device__ __forceinline__ std::uint32_t corner(int lane) {
    return offset(lane & 15, lane >> 4);
  }
  /// The same with the second and the third 8 x 8 block exchanged.
  static __device__ __forceinline__ std::uint32_t exchanged_corner(int lane) {
    return offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }
  static __device__ __forceinline__ std::uint32_t right(int pairs) {
    return static_cast<std::uint32_t>(pairs) << 5;
  }
  static __device__ __forceinline__ std::uint32_t down(int rows) {
    return static_cast<std::uint32_t>(rows) * row_bytes;
  }
};

/// Hides from the compiler that a value does not change, so that what is cheaply derived from it is
/// not kept in registers across a loop.
template <class Word>
__device__ __forceinline__ Word rederived(Word x) {
  static_assert(sizeof(Word) == 4);
  asm volatile("" : "+r"(x));
  return x;
}

/// Fills one chunk of a tile from eight elements at `from`, with zeros when it is not `valid`. With
/// `Vectors` the copy runs in the background; else any stride and alignment will do.
template <bool Vectors>
__device__ __forceinline__ void fill_chunk(std::uint32_t to, const std::uint16_t* from,
                                           std::int64_t element_stride, bool valid) {
  if constexpr (Vectors) {
    copy_async(to, from, valid);
  } else {
    std::uint32_t pair[4] = {};
    if (valid) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        pair[e] = from[0] | static_cast<std::uint32_t>(from[element_stride]) << 16;
        from += 2 * element_stride;
      }
    }
    store_shared(to, make_uint4(pair[0], pair[1], pair[2], pair[3]));
  }
}

/// `Threads` threads fill a tile of `Rows` rows from evenly spaced ones; those from `count` on are
/// zeros and are not read.
template <int D, int Rows, int Threads, bool Vectors>
__device__ __forceinline__ void fill_tile(std::uint32_t tile, int thread,
                                          const std::uint16_t* first, std::int64_t row_stride,
                                          std::int64_t element_stride, int count) {
  using layout = shared_tile<D>;
  constexpr int rows_at_once = Threads / layout::chunks;
  static_assert(Threads % layout::chunks == 0 && Rows % rows_at_once == 0);
  const int chunk = thread % layout::chunks;
  int row = thread / layout::chunks;
  const std::uint16_t* from = first + row * row_stride + chunk * 8 * (Vectors ? 1 : element_stride);
#pragma unroll
  for (int i = 0; i < Rows / rows_at_once; ++i) {
    fill_chunk<Vectors>(tile + layout::offset(row, chunk), from, element_stride, row < count);
    row += rows_at_once;
    from += rows_at_once * row_stride;
  }
}

/// Whether any of the eight elements of a chunk is infinite or NaN.
template <class T>
__device__ __forceinline__ bool any_nonfinite(uint4 chunk) {
  constexpr std::uint32_t e = tensor_core<T>::exponent;
  bool found = false;
  for (const std::uint32_t pair : {chunk.x, chunk.y, chunk.z, chunk.w}) {
    found |= (pair & e) == e || ((pair >> 16) & e) == e;
  }
  return found;
}

/// The pair with its infinite and NaN elements replaced by zero.
template <class T>
__device__ __forceinline__ std::uint32_t finite_only(std::uint32_t pair) {
  constexpr std::uint32_t e = tensor_core<T>::exponent;
  const std::uint32_t low = (pair & e) == e ? 0 : pair & 0xffffu;
  const std::uint32_t high = ((pair >> 16) & e) == e ? 0 : pair & 0xffff0000u;
  return low | high;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
