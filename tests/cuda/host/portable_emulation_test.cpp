// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <seqmix/cuda/common/kernel_launch.cuh>
#include <seqmix/cuda/common/tile.cuh>
#include <span>
#include <string>
#include <vector>

#include "support/catch.hpp"

// That the emulated GPU computes what portable kernels ask for, and ends those that do what they
// must not.

using namespace seqmix::cuda;
using seqmix::bf16;
using seqmix::f16;
using seqmix_test::emulated_fault;

namespace {

constexpr std::size_t shared_bytes = 4 << 10;

bool says(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// Small integers, whose products and sums are exact.
float element(int row, int column, int salt) {
  return static_cast<float>((row * 5 + column * 3 + salt) % 9 - 4);
}
/// 16 x 16 elements in lines of 32 bytes, by one warp.
template <class T>
void store_lines(std::uint32_t to, int salt) {
  for (int i = static_cast<int>(threadIdx.x); i < 128; i += 32) {
    const int row = i / 8;
    const int column = i % 8 * 2;
    store_shared(to + 4 * static_cast<std::uint32_t>(i),
                 tensor_core<T>::pack(element(row, column, salt), element(row, column + 1, salt)));
  }
  __syncwarp();
}
std::uint32_t line(std::uint32_t tile, unsigned row, unsigned chunk) {
  return tile + 32 * row + 16 * chunk;
}

/// How many sums are wrong in the product of two matrices of 16 x 16, the right one given by its
/// columns or by its rows.
template <class T>
int wrong_products(bool by_rows) {
  const std::uint32_t left = shared_address(shared_memory);
  const std::uint32_t right = left + 512;
  store_lines<T>(left, 1);
  store_lines<T>(right, 2);
  const unsigned lane = threadIdx.x;
  std::uint32_t a[4];
  std::uint32_t b[4];
  load_matrix(a, line(left, lane % 16, lane / 16));
  if (by_rows) {
    load_matrix_transposed(b, line(right, lane % 16, lane / 16));
  } else {
    load_matrix(b, line(right, lane % 8 + lane / 16 * 8, lane / 8 % 2));
  }
  float c[2][4] = {{1, 1, 1, 1}, {1, 1, 1, 1}};
  tensor_core<T>::multiply_add(c[0], a, b[0], b[1]);
  tensor_core<T>::multiply_add(c[1], a, b[2], b[3]);
  int wrong = 0;
  for (int i = 0; i < 8; ++i) {
    const int row = static_cast<int>(lane) / 4 + i % 4 / 2 * 8;
    const int column = i / 4 * 8 + static_cast<int>(lane) % 4 * 2 + i % 2;
    float sum = 1;
    for (int k = 0; k < 16; ++k) {
      sum += element(row, k, 1) * (by_rows ? element(k, column, 2) : element(column, k, 2));
    }
    wrong += c[i / 4][i % 4] == sum ? 0 : 1;
  }
  return wrong;
}

}  // namespace

TEST_CASE("a warp's products are those of matrices", "[portable]") {
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    for (const bool by_rows : {false, true}) {
      CHECK(emulated_fault(32, seed, shared_bytes, [&] {
              wrong += wrong_products<bf16>(by_rows);
              __syncwarp();
              wrong += wrong_products<f16>(by_rows);
            }) == "");
    }
  }
  CHECK(wrong == 0);
  CHECK(says(emulated_fault(32, 1, shared_bytes,
                            [] {
                              std::uint32_t a[4];
                              load_matrix(a, shared_address(shared_memory) + 8);
                            }),
             "no access"));
  CHECK(says(emulated_fault(32, 1, shared_bytes,
                            [] {
                              std::uint32_t a[4] = {};
                              float c[4] = {};
                              if (threadIdx.x == 7) {
                                __syncwarp();
                              } else {
                                tensor_core<bf16>::multiply_add(c, a, 0, 0);
                              }
                            }),
             "lanes of one warp"));
}

TEST_CASE("threads' copies come when they are waited for, or before", "[portable]") {
  alignas(16) std::uint32_t data[2][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
  constexpr std::uint32_t unknown = 0xffffffff;
  int early = 0;
  int late = 0;
  int wrong = 0;
  const auto place = [] { return shared_address(shared_memory) + 16 * threadIdx.x; };
  const auto copy = [&](std::uint32_t bytes) {
    const std::uint32_t to = place();
    store_shared(to, make_uint4(9, 9, 9, 9));
    copy_async_16(to, data[threadIdx.x % 2], bytes);
    copy_async_commit();
    return to;
  };
  for (std::uint64_t seed = 1; seed <= 32; ++seed) {
    const auto run = [&](auto body) { CHECK(emulated_fault(32, seed, shared_bytes, body) == ""); };
    run([&] {
      const std::uint32_t to = copy(6);
      const std::uint32_t seen = load_shared_4(to);
      (seen == unknown ? late : early) += 1;
      // A group that is empty counts, too.
      copy_async_commit();
      copy_async_wait<1>();
      const uint4 all = load_shared_16(to);
      const std::uint32_t* const from = data[threadIdx.x % 2];
      wrong += seen == unknown || seen == from[0] ? 0 : 1;
      wrong += all.x == from[0] && all.y == from[1] && all.z == 0 && all.w == 0 ? 0 : 1;
    });
    // Nothing is read where no bytes are.
    run([&] {
      copy_async_16(place(), nullptr, 0);
      copy_async_commit();
      copy_async_wait<0>();
      wrong += load_shared_4(place()) == 0 ? 0 : 1;
    });
    // Without its commit it is in no group.
    run([&] {
      copy_async_16(place(), data, 16);
      copy_async_wait<0>();
      wrong += load_shared_4(place()) == unknown ? 0 : 1;
    });
  }
  CHECK(wrong == 0);
  CHECK(early > 0);
  CHECK(late > 0);
}

TEST_CASE("copies that must not be", "[portable]") {
  alignas(16) std::uint16_t data[24] = {};
  const auto fault = [&](const void* from, std::uint32_t bytes, std::size_t readable) {
    seqmix_test::this_gpu.readable = {std::as_bytes(std::span(data, readable))};
    const std::string text = emulated_fault(32, 1, shared_bytes, [&] {
      copy_async_16(shared_address(shared_memory) + 16 * threadIdx.x, from, bytes);
      copy_async_commit();
      copy_async_wait<0>();
    });
    seqmix_test::this_gpu.readable.clear();
    return text;
  };
  CHECK(fault(data, 16, 8) == "");
  CHECK(fault(data + 8, 6, 11) == "");
  CHECK(says(fault(data + 8, 8, 11), "outside"));
  CHECK(says(fault(data + 1, 8, 24), "no chunk"));
  CHECK(says(emulated_fault(32, 1, shared_bytes,
                            [&] {
                              copy_async_16(shared_address(shared_memory), data, 16);
                              copy_async_commit();
                            }),
             "ended before"));
}

TEST_CASE("a barrier tells every thread whether any said so", "[portable]") {
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    CHECK(emulated_fault(128, seed, shared_bytes, [&] {
            for (unsigned turn = 0; turn < 6; ++turn) {
              const bool expected = turn % 3 != 0;
              const bool said = expected && threadIdx.x == 20 * turn;
              wrong += __syncthreads_or(said) == expected ? 0 : 1;
            }
          }) == "");
  }
  CHECK(wrong == 0);
}
