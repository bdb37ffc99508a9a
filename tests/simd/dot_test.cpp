// SPDX-License-Identifier: Apache-2.0
#include <seqmix/simd/dot.hpp>

#include <cstdint>
#include <vector>

#include "support/catch.hpp"

// Small integers: every sum is exact in whatever order, so that results are compared exactly.

namespace {

using seqmix::simd::lanes;
using seqmix::simd::vec;
using native = seqmix::simd::default_arch;

std::int64_t small_integer(std::int64_t i) { return i * 7 % 11 - 5; }

template <class C, class Arch>
void check_sum_each() {
  constexpr int w = lanes<C, Arch>;
  alignas(64) C lane[w][w];
  vec<C, Arch> x[w];
  for (int i = 0; i < w; ++i) {
    for (int j = 0; j < w; ++j) {
      lane[i][j] = static_cast<C>(small_integer(31 * i + j * j));
    }
    x[i] = vec<C, Arch>::load_aligned(lane[i]);
  }
  alignas(64) C sums[w];
  seqmix::simd::detail::sum_each<C, Arch>(x).store_aligned(sums);
  for (int i = 0; i < w; ++i) {
    C want = 0;
    for (int j = 0; j < w; ++j) {
      want += lane[i][j];
    }
    CHECK(sums[i] == want);
  }
}

/// As `dot_rows` wants its queries: aligned.
template <class C>
struct aligned_rows {
  alignas(64) C data[12 * 64];
};

template <class C, class K>
void check_dot_rows() {
  constexpr int w = lanes<C, native>;
  static aligned_rows<C> queries;
  for (std::int64_t i = 0; i < 12 * 64; ++i) {
    queries.data[i] = static_cast<C>(small_integer(i));
  }
  for (const std::int64_t dim : {std::int64_t{w}, std::int64_t{64}}) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 8, 9, 12}) {
      for (std::int64_t count = 0; count <= 2 * w + 1; ++count) {
        const std::int64_t key_step = dim + 3;
        std::vector<K> keys;
        for (std::int64_t i = 0; i < count * key_step; ++i) {
          keys.push_back(static_cast<K>(static_cast<float>(small_integer(3 * i + 1))));
        }
        const std::int64_t out_step = count + 2;
        constexpr C untouched = C(1e6);
        std::vector<C> out(static_cast<std::size_t>(rows * out_step), untouched);
        std::vector<int> announced(static_cast<std::size_t>(count));
        seqmix::simd::dot_rows<C, native>(
            queries.data, 64, rows, keys.data(), key_step, count, dim, out.data(), out_step,
            [&](std::int64_t j) { ++announced.at(static_cast<std::size_t>(j)); });
        CHECK(announced == std::vector<int>(static_cast<std::size_t>(count), 1));
        int wrong = 0;
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t j = 0; j < out_step; ++j) {
            C want = j < count ? C(0) : untouched;
            for (std::int64_t d = 0; j < count && d < dim; ++d) {
              want += queries.data[r * 64 + d] *
                      static_cast<C>(
                          static_cast<float>(keys[static_cast<std::size_t>(j * key_step + d)]));
            }
            wrong += out[static_cast<std::size_t>(r * out_step + j)] != want;
          }
        }
        INFO("dim " << dim << ", rows " << rows << ", keys " << count);
        CHECK(wrong == 0);
      }
    }
  }
}

template <class C, class B>
void check_multiply_add() {
  constexpr int w = lanes<C, native>;
  constexpr int rows = 3;
  constexpr int width = 2;
  constexpr std::int64_t n = 9;
  std::vector<C> a;  // [n][rows], so that both of its steps matter
  std::vector<B> b;  // [n][width * w + 1]
  const std::int64_t b_step = width * w + 1;
  for (std::int64_t i = 0; i < n * rows; ++i) {
    a.push_back(static_cast<C>(small_integer(i)));
  }
  for (std::int64_t i = 0; i < n * b_step; ++i) {
    b.push_back(static_cast<B>(static_cast<float>(small_integer(5 * i + 2))));
  }
  vec<C, native> acc[rows][width];
  for (auto& row : acc) {
    for (auto& x : row) {
      x = vec<C, native>(C(1));
    }
  }
  seqmix::simd::multiply_add<rows, width, C, native>(acc, a.data(), 1, rows, b.data(), b_step, n);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      alignas(64) C lane[w];
      acc[r][c].store_aligned(lane);
      for (int i = 0; i < w; ++i) {
        C want = 1;
        for (std::int64_t k = 0; k < n; ++k) {
          want += a[static_cast<std::size_t>(k * rows + r)] *
                  static_cast<C>(
                      static_cast<float>(b[static_cast<std::size_t>(k * b_step + c * w + i)]));
        }
        CHECK(lane[i] == want);
      }
    }
  }
}

}  // namespace

TEST_CASE("sum_each: lane i is the sum of register i") {
  check_sum_each<float, native>();
  check_sum_each<double, native>();
#if XSIMD_WITH_SSE2
  check_sum_each<float, seqmix::simd::arch<xsimd::sse2, 0>>();
  check_sum_each<double, seqmix::simd::arch<xsimd::sse2, 0>>();
#endif
#if XSIMD_WITH_AVX2
  check_sum_each<float, seqmix::simd::arch<xsimd::avx2, 0>>();
  check_sum_each<double, seqmix::simd::arch<xsimd::avx2, 0>>();
#endif
}

TEST_CASE("dot_rows for all counts of rows and keys") {
  check_dot_rows<float, float>();
  check_dot_rows<float, seqmix::f16>();
  check_dot_rows<float, seqmix::bf16>();
  check_dot_rows<double, double>();
  check_dot_rows<double, float>();
}

TEST_CASE("multiply_add is a matrix product") {
  check_multiply_add<float, float>();
  check_multiply_add<float, seqmix::bf16>();
  check_multiply_add<double, double>();
  check_multiply_add<double, seqmix::f16>();
}

TEST_CASE("unroll calls in order") {
  std::vector<int> order;
  seqmix::simd::unroll<5>([&](auto i) { order.push_back(i); });
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}
