// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "block.hpp"

// CUDA C++'s functions and attributes for device code that is included after this header and
// compiled for the host. All lanes of a warp take part in what has a mask.

#undef __launch_bounds__
#define __launch_bounds__(...)

namespace seqmix_test {

template <class Result, class Fold>
Result fold_lanes(const char* what, std::int64_t word, Fold fold) {
  return emulated_block::current().exchange(what, word, [&](const std::int64_t* w) {
    auto result = static_cast<Result>(w[0]);
    for (unsigned i = 1; i < emulated_block::warp_size; ++i) {
      result = fold(result, static_cast<Result>(w[i]));
    }
    return result;
  });
}

/// The value of lane `from`, or one's own where there is no such lane.
template <class T>
T word_of_lane(const char* what, T x, unsigned from) {
  static_assert(sizeof(T) == 4);
  const std::int64_t word = std::bit_cast<std::int32_t>(x);
  return emulated_block::current().exchange(what, word, [&](const std::int64_t* w) {
    const std::int64_t found = from < emulated_block::warp_size ? w[from] : word;
    return std::bit_cast<T>(static_cast<std::int32_t>(found));
  });
}

}  // namespace seqmix_test

inline void __syncwarp() {
  seqmix_test::emulated_block::current().converge("__syncwarp", [] {});
}
inline int __reduce_max_sync(unsigned, int x) {
  return seqmix_test::fold_lanes<int>("__reduce_max_sync", x,
                                      [](int a, int b) { return std::max(a, b); });
}
inline unsigned __reduce_add_sync(unsigned, unsigned x) {
  return seqmix_test::fold_lanes<unsigned>("__reduce_add_sync", x,
                                           [](unsigned a, unsigned b) { return a + b; });
}
inline unsigned __reduce_or_sync(unsigned, unsigned x) {
  return seqmix_test::fold_lanes<unsigned>("__reduce_or_sync", x,
                                           [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __ballot_sync(unsigned, bool x) {
  const unsigned bit = x ? 1u << threadIdx.x % 32 : 0;
  return seqmix_test::fold_lanes<unsigned>("__ballot_sync", bit,
                                           [](unsigned a, unsigned b) { return a | b; });
}
inline bool __any_sync(unsigned, bool x) {
  return seqmix_test::fold_lanes<unsigned>("__any_sync", x ? 1 : 0,
                                           [](unsigned a, unsigned b) { return a | b; }) != 0;
}
inline bool __all_sync(unsigned mask, bool x) { return !__any_sync(mask, !x); }
template <class T>
T __shfl_sync(unsigned, T x, int lane) {
  return seqmix_test::word_of_lane("__shfl_sync", x, static_cast<unsigned>(lane));
}
template <class T>
T __shfl_xor_sync(unsigned, T x, int bits) {
  return seqmix_test::word_of_lane("__shfl_xor_sync", x,
                                   threadIdx.x % 32 ^ static_cast<unsigned>(bits));
}
template <class T>
T __shfl_up_sync(unsigned, T x, int distance) {
  return seqmix_test::word_of_lane("__shfl_up_sync", x,
                                   threadIdx.x % 32 - static_cast<unsigned>(distance));
}

using std::max;
using std::min;
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
  const std::uint64_t both = std::uint64_t{high} << 32 | low;
  return static_cast<unsigned>(both << std::min(shift, 32u) >> 32);
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __vimax3_s32(int a, int b, int c) { return std::max({a, b, c}); }
inline unsigned __vimax3_u32(unsigned a, unsigned b, unsigned c) { return std::max({a, b, c}); }

namespace seqmix_test {

/// Calls `f(lane)` in the 32 lanes of a warp of block `block` of `blocks`.
template <class F>
void run_warp(unsigned block, unsigned blocks, F f) {
  blockIdx.x = block;
  gridDim.x = blocks;
  emulated_block(32, block).run([&] { f(threadIdx.x); });
}

}  // namespace seqmix_test
