// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <vector>

#include "block.hpp"

namespace seqmix_test {

/// All numbers of a 16-bit type, by their bits.
inline const std::vector<float>& numbers(seqmix::scalar_type type) {
  const auto all = []<class T>(T) {
    std::vector<float> n(65536);
    for (std::size_t i = 0; i < n.size(); ++i) {
      n[i] = static_cast<float>(std::bit_cast<T>(static_cast<std::uint16_t>(i)));
    }
    return n;
  };
  static const std::vector<float> bf16 = all(seqmix::bf16{});
  static const std::vector<float> f16 = all(seqmix::f16{});
  return type == seqmix::scalar_type::bf16 ? bf16 : f16;
}

/// The left operand of a warp's product, 16 x 16 elements in four registers of each lane.
inline void unpack_left(
    const std::array<const std::uint32_t*, emulated_block::warp_size>& registers,
    const std::vector<float>& number, float (&a)[16][16]) {
  for (std::size_t lane = 0; lane < registers.size(); ++lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      float* const pair = &a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8];
      pair[0] = number[registers[lane][i] & 0xffff];
      pair[1] = number[registers[lane][i] >> 16];
    }
  }
}

}  // namespace seqmix_test
