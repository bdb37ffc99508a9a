// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "matrix_descriptor.cuh"
#include "ptx.cuh"

// The products of kernels/cuda/common/wgmma.cuh.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

inline void products_begin() { seqmix_test::this_block.products().begin(); }
inline void products_commit() {
  auto& block = seqmix_test::this_block;
  block.products().commit(block.shared, block.products_of_warpgroup());
}
template <int Pending>
void products_wait() {
  auto& block = seqmix_test::this_block;
  block.products().wait(block.shared, Pending);
}
/// Accumulators are in memory here, and the emulation is nothing that a compiler looks through.
template <int Count>
void pin_registers(float (&)[Count]) {}
template <int Count>
void pin_free_registers(float (&c)[Count]) {
  std::fill(c, c + Count, std::numeric_limits<float>::quiet_NaN());
}

template <class T, int N>
struct warpgroup_product {
  static void both_shared(float (&c)[N / 2], matrix_descriptor a, matrix_descriptor b, int add) {
    seqmix_test::this_block.products().issue(
        {scalar_type_of<T>, N, add != 0, false, a.bits(), b.bits()}, c, nullptr);
  }
  static void left_in_registers(float (&c)[N / 2], const std::uint32_t* a, matrix_descriptor b,
                                int add) {
    seqmix_test::this_block.products().issue({scalar_type_of<T>, N, add != 0, true, 0, b.bits()}, c,
                                             a);
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
