// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/scalar.hpp>

#include "support/emulated_gpu/hardware.hpp"

// The instructions of kernels/cuda/common/ptx.cuh.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Every kernel's, as large as a block's may be.
extern constinit thread_local unsigned char shared_memory[227 * 1024];

inline std::uint32_t shared_address(const void* p) {
  return seqmix_test::this_block.shared.address_of(p);
}

inline void copy_async_16(std::uint32_t to, const void* from, std::uint32_t bytes) {
  auto& block = seqmix_test::this_block;
  block.copies.issue(block.shared, to, from, bytes, seqmix_test::this_gpu.readable);
}
inline void copy_async_16(std::uint32_t to, const void* from) { copy_async_16(to, from, 16); }
inline void copy_async_commit() {
  seqmix_test::this_block.copies.commit(seqmix_test::this_block.shared);
}
template <int Pending>
void copy_async_wait() {
  seqmix_test::this_block.copies.wait(Pending);
}

inline void load_matrix(std::uint32_t (&r)[4], std::uint32_t from) {
  auto& block = seqmix_test::this_block;
  block.fragments().load(block.shared, from, r, false);
}
inline void load_matrix_transposed(std::uint32_t (&r)[4], std::uint32_t from) {
  auto& block = seqmix_test::this_block;
  block.fragments().load(block.shared, from, r, true);
}

inline void store_matrix(std::uint32_t to, const std::uint32_t (&r)[4]) {
  auto& block = seqmix_test::this_block;
  block.fragments().store(block.shared, to, r);
}

inline void store_shared(std::uint32_t to, uint4 value) {
  seqmix_test::this_block.shared.store(to, value);
}
inline void store_shared(std::uint32_t to, std::uint32_t value) {
  seqmix_test::this_block.shared.store(to, value);
}
inline void store_shared_if_negative(std::uint32_t to, float value) {
  if (value < 0) {
    seqmix_test::this_block.shared.store(to, value);
  }
}
inline uint4 load_shared_16(std::uint32_t from) {
  return seqmix_test::this_block.shared.load<uint4>(from);
}
inline std::uint32_t load_shared_4(std::uint32_t from) {
  return seqmix_test::this_block.shared.load<std::uint32_t>(from);
}

inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0 : y;
}
inline float reciprocal_fast(float x) { return 1 / x; }
inline float log2_fast(float x) { return std::log2(x); }

template <class T>
struct tensor_core {
  static void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1) {
    seqmix_test::this_block.fragments().multiply_add(scalar_type_of<T>, c, a, b0, b1);
  }
  static std::uint32_t pack(float low, float high) {
    return std::uint32_t{T(high).bits} << 16 | T(low).bits;
  }
  static float unpack(std::uint32_t bits) {
    T x;
    x.bits = static_cast<std::uint16_t>(bits);
    return static_cast<float>(x);
  }
  static std::uint32_t plus_zero_times(std::uint32_t sum, std::uint32_t pair) {
    return pack(unpack(sum & 0xffffu) + 0 * unpack(pair & 0xffffu),
                unpack(sum >> 16) + 0 * unpack(pair >> 16));
  }
  static constexpr std::uint32_t exponent = std::is_same_v<T, bf16> ? 0x7f80 : 0x7c00;
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
