// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ptx.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A tile of rows of W 16-bit elements in shared memory. The 16-byte chunks of a row change places,
/// by the row's number and inside groups of `group`, so that ldmatrix, which reads one chunk column
/// of eight rows, and the writers, which fill rows, both touch every bank once. A group is a line
/// of all banks; in rows of one and a half lines it is half of one.
///
/// A tile starts on a multiple of 16 `group` bytes.
template <int W>
struct shared_tile {
  static_assert(W % 32 == 0);
  static constexpr int chunks = W / 8;
  static constexpr int row_bytes = W * 2;
  static constexpr int group = W % 64 == 0 ? 8 : 4;

  static __device__ __forceinline__ std::uint32_t offset(int row, int chunk) {
    const int exchange = group == 8 ? row & 7 : (row >> 1) & 3;
    return static_cast<std::uint32_t>(row * row_bytes + ((chunk ^ exchange) << 4));
  }

  /// For ldmatrix: the offset that a lane contributes for the 16 x 16 elements in the tile's
  /// corner.
  static __device__ __forceinline__ std::uint32_t corner(int lane) {
    return offset(lane & 15, lane >> 4);
  }
  /// The same with the second and the third 8 x 8 block exchanged.
  static __device__ __forceinline__ std::uint32_t exchanged_corner(int lane) {
    return offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }
  /// The address `pairs` chunk pairs further right and `rows` further down than that of a corner:
  /// with constants, an exchange inside the group and a constant. `rows` is a multiple of 8.
  static __device__ __forceinline__ std::uint32_t from(std::uint32_t corner, int pairs, int rows) {
    constexpr int pairs_in_group = group / 2;
    return (corner ^ (static_cast<std::uint32_t>(pairs % pairs_in_group) << 5)) +
           static_cast<std::uint32_t>(pairs / pairs_in_group * group * 16 + rows * row_bytes);
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
/// Hides from the compiler where an address comes from, so that constants that are added to it are
/// those of instructions.
template <class T>
__device__ __forceinline__ T* fixed_address(T* x) {
  asm volatile("" : "+l"(x));
  return x;
}

/// A value that all lanes of the warp share, known to the compiler as such.
__device__ __forceinline__ int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

/// Fills one chunk of a tile from the first `elements` of eight elements at `from`, 0 to 8 of them,
/// and zeros. With `Vectors` the copy runs in the background; else any stride and alignment will
/// do.
template <bool Vectors>
__device__ __forceinline__ void fill_chunk(std::uint32_t to, const std::uint16_t* from,
                                           std::int64_t element_stride, int elements) {
  if constexpr (Vectors) {
    copy_async_16(to, from, static_cast<std::uint32_t>(2 * elements));
  } else {
    std::uint32_t pair[4] = {};
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      if (e < elements) {
        pair[e / 2] |= static_cast<std::uint32_t>(from[e * element_stride]) << (16 * (e % 2));
      }
    }
    store_shared(to, make_uint4(pair[0], pair[1], pair[2], pair[3]));
  }
}

/// How many of the elements of a chunk exist in rows of `dim`.
__device__ __forceinline__ int elements_of_chunk(int chunk, int dim) {
  return max(0, min(8, dim - 8 * chunk));
}

/// Where the first chunk lies that a thread moves of a tile whose rows begin at `first`.
template <int W, bool Vectors>
__device__ __forceinline__ const std::uint16_t* first_chunk(const std::uint16_t* first, int thread,
                                                            std::int64_t row_stride,
                                                            std::int64_t element_stride) {
  constexpr int columns = shared_tile<W>::group;
  return first + thread / columns * row_stride +
         thread % columns * 8 * (Vectors ? 1 : element_stride);
}

/// `Threads` threads fill a tile of `Rows` rows of W elements from evenly spaced rows of `dim`, of
/// which the thread's `first_chunk` is at `from`. What lies beyond these, and rows from `count` on,
/// are zeros and not read.
template <int W, int Rows, int Threads, bool Vectors>
__device__ __forceinline__ void fill_tile(std::uint32_t tile, int thread, const std::uint16_t* from,
                                          std::int64_t row_stride, std::int64_t element_stride,
                                          int count, int dim) {
  using layout = shared_tile<W>;
  constexpr int columns = layout::group;
  constexpr int rows_at_once = Threads / columns;
  static_assert(Threads % columns == 0 && Rows % rows_at_once == 0);
  const int chunk = thread % columns;
  int row = thread / columns;
  const std::int64_t step = Vectors ? 1 : element_stride;
  // Most tiles are there as a whole. Of wide ones so many copies in a row would fill the queue in
  // which loads from shared memory wait, too.
  if constexpr (Vectors && W <= 128) {
    if (count >= Rows && dim == W) {
#pragma unroll
      for (int i = 0; i < Rows / rows_at_once; ++i) {
#pragma unroll
        for (int side = 0; side < layout::chunks; side += columns) {
          copy_async_16(tile + layout::offset(row, chunk + side), from + side * 8);
        }
        row += rows_at_once;
        from += rows_at_once * row_stride;
      }
      return;
    }
  }
#pragma unroll(Vectors ? Rows : 1)
  for (int i = 0; i < Rows / rows_at_once; ++i) {
#pragma unroll(Vectors ? W : 1)
    for (int side = 0; side < layout::chunks; side += columns) {
      const int elements = row < count ? elements_of_chunk(chunk + side, dim) : 0;
      fill_chunk<Vectors>(tile + layout::offset(row, chunk + side), from + side * 8 * step,
                          element_stride, elements);
    }
    row += rows_at_once;
    from += rows_at_once * row_stride;
  }
}

/// Whether any of the eight elements of a chunk is infinite or NaN: in those the exponent's bits
/// are all ones, and one more carries into the bit above.
template <class T>
__device__ __forceinline__ bool any_nonfinite(uint4 chunk) {
  constexpr std::uint32_t e = tensor_core<T>::exponent;
  constexpr std::uint32_t both = e << 16 | e;
  constexpr std::uint32_t one = (e & -e) << 16 | (e & -e);
  return ((((chunk.x & both) + one) | ((chunk.y & both) + one) | ((chunk.z & both) + one) |
           ((chunk.w & both) + one)) &
          0x80008000u) != 0;
}

/// The same of this thread's share of a tile of `Chunks` chunks, of every `Threads`-th one.
template <class T, int Chunks, int Threads>
__device__ __forceinline__ bool any_nonfinite_of(std::uint32_t tile, int thread) {
  using core = tensor_core<T>;
  uint4 sum = make_uint4(0, 0, 0, 0);
#pragma unroll 8
  for (int at = thread; at < Chunks; at += Threads) {
    const uint4 chunk = load_shared_16(tile + 16 * static_cast<std::uint32_t>(at));
    sum = make_uint4(core::plus_zero_times(sum.x, chunk.x), core::plus_zero_times(sum.y, chunk.y),
                     core::plus_zero_times(sum.z, chunk.z), core::plus_zero_times(sum.w, chunk.w));
  }
  return any_nonfinite<T>(sum);
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
