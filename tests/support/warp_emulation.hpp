// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>
#include <algorithm>
#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

// A warp of 32 threads of the host, for device code that needs nothing of a GPU but to agree: the
// code is included after this header, and compiled for the host.

namespace seqmix_test {

/// What the lanes of a warp hand to each other.
struct emulated_warp {
  std::barrier<> all{32};
  std::int64_t words[32];
};

inline thread_local emulated_warp* this_warp = nullptr;

/// Every lane's word, and what `read` makes of all of them.
template <class Read>
auto exchange(std::int64_t word, Read read);

struct emulated_index {
  unsigned x;
};

}  // namespace seqmix_test

inline thread_local seqmix_test::emulated_index threadIdx{0};
inline thread_local seqmix_test::emulated_index blockIdx{0};
inline thread_local seqmix_test::emulated_index gridDim{1};

template <class Read>
auto seqmix_test::exchange(std::int64_t word, Read read) {
  emulated_warp& w = *this_warp;
  w.words[threadIdx.x % 32] = word;
  w.all.arrive_and_wait();
  const auto result = read(w.words);
  w.all.arrive_and_wait();
  return result;
}

inline int __reduce_max_sync(unsigned, int x) {
  return seqmix_test::exchange(
      x, [](const std::int64_t* w) { return static_cast<int>(*std::max_element(w, w + 32)); });
}
inline unsigned __reduce_add_sync(unsigned, unsigned x) {
  return seqmix_test::exchange(x, [](const std::int64_t* w) {
    unsigned sum = 0;
    for (int i = 0; i < 32; ++i) {
      sum += static_cast<unsigned>(w[i]);
    }
    return sum;
  });
}
inline unsigned __ballot_sync(unsigned, bool x) {
  return seqmix_test::exchange(x ? 1 : 0, [](const std::int64_t* w) {
    unsigned bits = 0;
    for (int i = 0; i < 32; ++i) {
      bits |= (w[i] != 0 ? 1u : 0u) << i;
    }
    return bits;
  });
}
template <class T>
T __shfl_sync(unsigned, T x, int lane) {
  return seqmix_test::exchange(x,
                               [lane](const std::int64_t* w) { return static_cast<T>(w[lane]); });
}
template <class T>
T __shfl_up_sync(unsigned, T x, int distance) {
  return seqmix_test::exchange(x, [distance](const std::int64_t* w) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    return static_cast<T>(w[lane < distance ? lane : lane - distance]);
  });
}
using std::max;
using std::min;
inline int __ffs(int x) { return __builtin_ffs(x); }

namespace seqmix_test {

/// Calls `f(lane)` in the 32 lanes of a warp of block `block` of `blocks`.
template <class F>
void run_warp(unsigned block, unsigned blocks, F f) {
  emulated_warp warp;
  std::vector<std::thread> lanes;
  for (unsigned lane = 0; lane < 32; ++lane) {
    lanes.emplace_back([&, lane] {
      this_warp = &warp;
      threadIdx.x = lane;
      blockIdx.x = block;
      gridDim.x = blocks;
      f(lane);
    });
  }
  for (std::thread& t : lanes) {
    t.join();
  }
}

}  // namespace seqmix_test
