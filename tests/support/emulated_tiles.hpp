// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/scalar.hpp>

namespace seqmix_test {

/// `seqmix::simd::amx_tiles` in plain float: the same layouts, and sums in the same order.
struct emulated_tiles {
  static constexpr const char* name = "emulated";

  static void configure() noexcept {}
  static void release() noexcept {}

  static void multiply(const seqmix::bf16* a, std::int64_t a_row, const seqmix::bf16* b,
                       std::int64_t steps, float* c, std::int64_t c_row) noexcept {
    for (int r = 0; r < 32; ++r) {
      for (int n = 0; n < 32; ++n) {
        c[r * c_row + n] = 0;
      }
    }
    for (std::int64_t step = 0; step < steps; ++step) {
      for (int half = 0; half < 2; ++half) {
        const seqmix::bf16* tile = b + (step * 2 + half) * 512;
        float right[2][16][16];  // [even, odd][pair][column]
        for (int i = 0; i < 512; ++i) {
          right[i % 2][i / 32][i / 2 % 16] = static_cast<float>(tile[i]);
        }
        for (int r = 0; r < 32; ++r) {
          float even[16] = {};
          float odd[16] = {};
          for (int pair = 0; pair < 16; ++pair) {
            const seqmix::bf16* left = a + r * a_row + step * 32 + pair * 2;
            const auto x = static_cast<float>(left[0]);
            const auto y = static_cast<float>(left[1]);
            for (int n = 0; n < 16; ++n) {
              even[n] += x * right[0][pair][n];
              odd[n] += y * right[1][pair][n];
            }
          }
          float* sum = c + r * c_row + half * 16;
          for (int n = 0; n < 16; ++n) {
            sum[n] += even[n] + odd[n];
          }
        }
      }
    }
  }
};

}  // namespace seqmix_test
