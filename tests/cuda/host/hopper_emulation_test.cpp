// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <seqmix/cuda/common/kernel_launch.cuh>
#include <seqmix/cuda/common/tensor_map.hpp>
#include <seqmix/cuda/common/tma.cuh>
#include <seqmix/cuda/common/wgmma.cuh>
#include <string>
#include <vector>

#include "support/catch.hpp"

// That the emulated GPU computes what it should, and ends kernels that do what they must not.

using namespace seqmix::cuda;
using seqmix::bf16;
using seqmix_test::this_block;

namespace {

constexpr std::size_t shared_bytes = 64 << 10;

template <class Body>
std::string fault_of(unsigned threads, std::uint64_t seed, Body body) {
  return seqmix_test::emulated_fault(threads, seed, shared_bytes, body);
}
bool says(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// The first multiple of 1024 in shared memory, and a barrier behind the tiles.
std::uint32_t tiles() { return (shared_address(shared_memory) + 1023) & ~1023u; }
shared_barrier the_barrier() { return {tiles() + (32 << 10)}; }
void begin(std::uint32_t arrivals) {
  if (threadIdx.x == 0) {
    the_barrier().init(arrivals);
    publish_barriers();
  }
  __syncthreads();
}

/// Small integers, whose products and sums are exact.
float element(int row, int column, int salt) {
  return static_cast<float>((row * 5 + column * 3 + salt) % 9 - 4);
}
/// Lines of 64 elements as copies leave them, by one warpgroup.
void store_lines(std::uint32_t to, int lines, int salt) {
  for (int i = static_cast<int>(threadIdx.x); i < lines * 32; i += 128) {
    const int line = i / 32;
    const int column = i % 32 * 2;
    const int chunk = column / 8 ^ line % 8;
    store_shared(
        to + static_cast<std::uint32_t>(line * 128 + chunk * 16 + column % 8 * 2),
        tensor_core<bf16>::pack(element(line, column, salt), element(line, column + 1, salt)));
  }
}
int row_of(int i) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4 + i / 2 % 2 * 8;
}
int column_of(int i) { return i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2; }

constexpr std::uint32_t block = 64 * 128;  // bytes of 64 lines

/// c += a b^T for 64 x 64 x 64, then c += d b for 64 x 64 x 16 with d in registers.
struct two_products {
  float c[32];
  std::uint32_t a[4];

  void prepare(bool fenced) {
    store_lines(tiles(), 64, 1);
    store_lines(tiles() + block, 64, 2);
    if (fenced) {
      fence_async_proxy();
    }
    __syncthreads();
    for (int i = 0; i < 32; ++i) {
      c[i] = 1;
    }
    for (int i = 0; i < 4; ++i) {
      const int row = row_of(2 * i);
      const int column = static_cast<int>(threadIdx.x) % 4 * 2 + i / 2 * 8;
      a[i] = tensor_core<bf16>::pack(element(row, column, 3), element(row, column + 1, 3));
    }
  }
  void issue() {
    for (std::uint32_t k = 0; k < 4; ++k) {
      warpgroup_product<bf16, 64>::both_shared(c, matrix_descriptor::of(tiles()) + 32 * k,
                                               matrix_descriptor::of(tiles() + block) + 32 * k, 1);
    }
    warpgroup_product<bf16, 64>::left_in_registers(
        c, a, matrix_descriptor::of(tiles() + block, block), 1);
    products_commit();
  }
  bool right() const {
    for (int i = 0; i < 32; ++i) {
      float sum = 1;
      for (int k = 0; k < 64; ++k) {
        sum += element(row_of(i), k, 1) * element(column_of(i), k, 2);
      }
      for (int k = 0; k < 16; ++k) {
        sum += element(row_of(i), k, 3) * element(k, column_of(i), 2);
      }
      if (sum != c[i]) {
        return false;
      }
    }
    return true;
  }
};

}  // namespace

TEST_CASE("products are those of matrices, and not there before they are waited for", "[hopper]") {
  int wrong = 0;
  int seen = 0;
  CHECK(fault_of(128, 1, [&] {
          two_products p;
          p.prepare(true);
          products_begin();
          p.issue();
          seen += std::isnan(p.c[0]) && std::isnan(p.c[31]) ? 0 : 1;
          products_wait<0>();
          wrong += p.right() ? 0 : 1;
        }) == "");
  CHECK(wrong == 0);
  CHECK(seen == 0);
}

TEST_CASE("operands that change under a product, or were not made visible, give others",
          "[hopper]") {
  int weights = 0;
  int tile = 0;
  int unfenced = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const auto count = [&](int& wrong, bool fenced, auto spoil) {
      CHECK(fault_of(128, seed, [&] {
              two_products p;
              p.prepare(fenced);
              products_begin();
              p.issue();
              spoil(p);
              products_wait<0>();
              wrong += p.right() ? 0 : 1;
            }) == "");
    };
    count(weights, true, [](two_products& p) { p.a[0] = 0; });
    count(tile, true, [](two_products&) {
      store_lines(tiles(), 64, 5);
      fence_async_proxy();
    });
    count(unfenced, false, [](two_products&) {});
  }
  CHECK(weights > 0);
  CHECK(tile > 0);
  CHECK(unfenced == 8 * 128);
}

TEST_CASE("accumulators belong to their products, which begin with a fence", "[hopper]") {
  CHECK(says(fault_of(128, 1,
                      [] {
                        two_products p;
                        p.prepare(true);
                        p.issue();
                      }),
             "before its fence"));
  CHECK(says(fault_of(128, 1,
                      [] {
                        two_products p;
                        p.prepare(true);
                        products_begin();
                        p.issue();
                        p.c[3] *= 2;
                        products_wait<0>();
                      }),
             "written under a product"));
  CHECK(says(fault_of(128, 1,
                      [] {
                        two_products p;
                        p.prepare(true);
                        products_begin();
                        if (threadIdx.x >= 32) {
                          p.issue();
                        } else {
                          warpgroup_product<bf16, 64>::both_shared(
                              p.c, matrix_descriptor::of(tiles()), matrix_descriptor::of(tiles()),
                              1);
                          products_commit();
                        }
                      }),
             "different products"));
}

TEST_CASE("copies come late, with zeros for what is outside", "[hopper]") {
  std::vector<bf16> data(3 * 72);
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = bf16(static_cast<float>(i % 64));
  }
  const std::int64_t strides[] = {216, 72, 72, 1};
  CUtensorMap map;
  REQUIRE(make_map(map, {data.data(), seqmix::scalar_type::bf16, {1, 3, 1, 72}, strides}, 4, 1));
  const auto copy = [&] {
    the_barrier().arrive_and_expect(512);
    copy_box(tiles(), map, the_barrier(), 64, 0, 1, 0);
  };
  int wrong = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    CHECK(fault_of(32, seed, [&] {
            begin(1);
            if (threadIdx.x == 0) {
              copy();
            }
            the_barrier().wait(0);
            for (std::uint32_t line = 0; line < 4; ++line) {
              for (std::uint32_t chunk = 0; chunk < 8; ++chunk) {
                const uint4 found = load_shared_16(tiles() + line * 128 + (chunk ^ line) * 16);
                const std::size_t at = (line + 1) * 72 + 64;
                const bool inside = line < 2 && chunk == 0;
                wrong +=
                    found.x == (inside ? std::uint32_t{data[at + 1].bits} << 16 | data[at].bits : 0)
                        ? 0
                        : 1;
              }
            }
          }) == "");
  }
  CHECK(wrong == 0);
  int early = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    fault_of(32, seed, [&] {
      begin(1);
      if (threadIdx.x == 0) {
        copy();
      }
      early += load_shared_4(tiles()) == 0xffffffffu ? 1 : 0;
      the_barrier().wait(0);
    });
  }
  CHECK(early > 0);
  CHECK(says(fault_of(32, 1,
                      [&] {
                        begin(2);
                        if (threadIdx.x == 0) {
                          copy();
                        }
                        the_barrier().wait(0);
                      }),
             "deadlock"));
}

TEST_CASE("stores of boxes come late, read what is fenced, and keep inside", "[hopper]") {
  constexpr std::size_t width = 72;
  const std::int64_t strides[] = {3 * width, width, width, 1};
  // Two lines of 64 elements, of which the tensor has the first and of that eight elements.
  const auto stored = [&](std::uint64_t seed, bool fenced, std::string& fault, int& early) {
    std::vector<bf16> data(4 * width, bf16(-1.0f));
    CUtensorMap map;
    REQUIRE(
        make_map(map, {data.data(), seqmix::scalar_type::bf16, {1, 3, 1, width}, strides}, 2, 1));
    fault = fault_of(32, seed, [&] {
      const int lane = static_cast<int>(threadIdx.x);
      std::uint32_t pairs[4];
      for (int i = 0; i < 4; ++i) {  // lines 8 i + lane / 4 of one chunk
        const int first = 8 * (8 * i + lane / 4) + 2 * (lane % 4);
        pairs[i] = tensor_core<bf16>::pack(static_cast<float>(first % 200),
                                           static_cast<float>((first + 1) % 200));
      }
      // Only the first two lines matter: line n, chunk 0, where the exchange puts it.
      store_matrix(tiles() + static_cast<std::uint32_t>(lane * 128 + (lane % 8) * 16), pairs);
      if (fenced) {
        fence_async_proxy();
      }
      __syncwarp();
      store_box_if(lane == 0, map, tiles(), 64, 0, 2, 0);
      stores_commit();
      early += lane == 0 && static_cast<float>(data[2 * width + 64]) == -1.0f ? 1 : 0;
      stores_wait_read();
    });
    return data;
  };
  int early = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    std::string fault;
    const std::vector<bf16> right = stored(seed, true, fault, early);
    CHECK(fault == "");
    bool all = true;
    for (std::size_t i = 0; i < right.size(); ++i) {
      const bool inside = i >= 2 * width + 64 && i < 3 * width;
      const float expected = inside ? static_cast<float>(i - 2 * width - 64) : -1.0f;
      all &= static_cast<float>(right[i]) == expected;
    }
    CHECK(all);
    const std::vector<bf16> unfenced = stored(seed, false, fault, early);
    CHECK(std::isnan(static_cast<float>(unfenced[2 * width + 64])));
  }
  CHECK(early > 0);
  CHECK(says(fault_of(32, 1,
                      [] {
                        CUtensorMap map{};
                        store_box_if(threadIdx.x == 0, map, tiles(), 0, 0, 0, 0);
                        stores_commit();
                      }),
             "ended before copies"));
}

TEST_CASE("what waits for ever, or for the wrong thing, is found", "[hopper]") {
  const std::string stuck = fault_of(64, 1, [] {
    begin(2);
    if (threadIdx.x == 0) {
      the_barrier().arrive();
    } else if (threadIdx.x >= 32) {
      the_barrier().wait(0);
    }
  });
  CHECK(says(stuck, "deadlock"));
  CHECK(says(stuck, "threads 32 to 63 at the barrier in memory"));
  CHECK(says(stuck, "threads 0 to 31 have ended"));
  CHECK(says(fault_of(32, 1,
                      [] {
                        begin(1);
                        if (threadIdx.x == 0) {
                          the_barrier().arrive_and_expect(16);
                          the_barrier().arrive();
                        }
                      }),
             "counts fewer arrivals"));
  CHECK(says(fault_of(32, 1,
                      [] {
                        if (threadIdx.x < 16) {
                          __syncwarp();
                        } else {
                          __any_sync(~0u, true);
                        }
                      }),
             "lanes of one warp"));
  CHECK(says(fault_of(64, 1, [] { named_sync(1, threadIdx.x < 32 ? 64 : 96); }),
             "other numbers of threads"));
  CHECK(says(fault_of(64, 1,
                      [] {
                        if (threadIdx.x < 32) {
                          named_arrive(1, 96);
                          named_arrive(1, 96);
                        }
                      }),
             "the same thread twice"));
  int missed = 0;
  for (std::uint64_t seed = 1; seed <= 16; ++seed) {
    const std::string fault = fault_of(64, seed, [] {
      begin(1);
      if (threadIdx.x == 0) {
        the_barrier().arrive();
        the_barrier().arrive();
      } else if (threadIdx.x >= 32) {
        the_barrier().wait(0);
      }
    });
    missed += says(fault, "two phases") || says(fault, "deadlock") ? 1 : 0;
  }
  CHECK(missed > 0);
}
