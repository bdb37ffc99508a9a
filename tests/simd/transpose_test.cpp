// SPDX-License-Identifier: Apache-2.0
#include <seqmix/simd/transpose.hpp>

#include "support/catch.hpp"

namespace {

template <class C, class Arch>
void check_transpose() {
  constexpr int w = seqmix::simd::lanes<C, Arch>;
  using V = seqmix::simd::vec<C, Arch>;
  alignas(64) C square[w][w];
  V x[w];
  for (int i = 0; i < w; ++i) {
    for (int j = 0; j < w; ++j) {
      square[i][j] = static_cast<C>(100 * i + j);
    }
    x[i] = V::load_aligned(square[i]);
  }
  seqmix::simd::transpose<C, Arch>(x);
  int wrong = 0;
  for (int i = 0; i < w; ++i) {
    x[i].store_aligned(square[i]);
    for (int j = 0; j < w; ++j) {
      wrong += square[i][j] != static_cast<C>(100 * j + i);
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("squares of registers are transposed") {
  check_transpose<float, seqmix::simd::default_arch>();
  check_transpose<double, seqmix::simd::default_arch>();
#if XSIMD_WITH_SSE2
  using smallest = seqmix::simd::arch<xsimd::sse2, 0>;
  check_transpose<float, smallest>();
  check_transpose<double, smallest>();
#endif
}
