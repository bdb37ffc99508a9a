// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <vector>

#include "block.hpp"
#include "elements.hpp"
#include "shared_memory.hpp"

namespace seqmix_test {

/// The instructions that a warp carries out on matrices of which each lane holds a few elements:
/// ldmatrix, stmatrix and mma. Lane 4 g + t has, of 8 x 8 elements, those of line g and columns 2 t
/// and 2 t + 1.
class warp_fragments {
 public:
  /// Four tiles of 8 x 8, of which lane 8 i + n gives the address of line n of tile i.
  void load(const shared_memory_window& shared, std::uint32_t from, std::uint32_t* r,
            bool transposed) {
    loading& mine = loads_[emulated_block::current().lane()];
    mine = {from, r};
    emulated_block::current().converge(transposed ? "ldmatrix.trans" : "ldmatrix",
                                       [this, &shared, transposed] { load(shared, transposed); });
  }

  /// The other way.
  void store(shared_memory_window& shared, std::uint32_t to, const std::uint32_t* r) {
    stores_[emulated_block::current().lane()] = {to, r};
    emulated_block::current().converge("stmatrix", [this] { gather(); });
    shared.store(to, lines_[emulated_block::current().lane()]);
  }

  /// c += a b for 16 x 8 x 16.
  void multiply_add(seqmix::scalar_type type, float* c, const std::uint32_t* a, std::uint32_t b0,
                    std::uint32_t b1) {
    const unsigned lane = emulated_block::current().lane();
    c_[lane] = c;
    a_[lane] = a;
    b_[lane] = {b0, b1};
    emulated_block::current().converge("mma", [this, type] { multiply_add(numbers(type)); });
  }

 private:
  static constexpr std::size_t lanes = emulated_block::warp_size;

  struct loading {
    std::uint32_t from;
    std::uint32_t* to;
  };
  struct storing {
    std::uint32_t to;
    const std::uint32_t* from;
  };

  void load(const shared_memory_window& shared, bool transposed) {
    for (std::size_t tile = 0; tile < 4; ++tile) {
      std::array<std::array<std::uint16_t, 8>, 8> lines;
      for (std::size_t n = 0; n < 8; ++n) {
        lines[n] = shared.load<std::array<std::uint16_t, 8>>(loads_[8 * tile + n].from);
      }
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        const std::size_t g = lane / 4;
        const std::size_t t = lane % 4 * 2;
        const std::uint32_t low = transposed ? lines[t][g] : lines[g][t];
        const std::uint32_t high = transposed ? lines[t + 1][g] : lines[g][t + 1];
        loads_[lane].to[tile] = high << 16 | low;
      }
    }
  }

  /// Each lane's line of all lanes' elements.
  void gather() {
    for (std::size_t tile = 0; tile < 4; ++tile) {
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        std::array<std::uint16_t, 8>& line = lines_[8 * tile + lane / 4];
        line[lane % 4 * 2] = static_cast<std::uint16_t>(stores_[lane].from[tile] & 0xffff);
        line[lane % 4 * 2 + 1] = static_cast<std::uint16_t>(stores_[lane].from[tile] >> 16);
      }
    }
  }

  void multiply_add(const std::vector<float>& number) const {
    float a[16][16];
    unpack_left(a_, number, a);
    float b[16][8];
    float c[16][8];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t g = lane / 4;
      const std::size_t t = lane % 4 * 2;
      for (std::size_t i = 0; i < 2; ++i) {
        b[t + 8 * i][g] = number[b_[lane][i] & 0xffff];
        b[t + 8 * i + 1][g] = number[b_[lane][i] >> 16];
        c[g + 8 * i][t] = c_[lane][2 * i];
        c[g + 8 * i][t + 1] = c_[lane][2 * i + 1];
      }
    }
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t k = 0; k < 16; ++k) {
        for (std::size_t n = 0; n < 8; ++n) {
          c[row][n] += a[row][k] * b[k][n];
        }
      }
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t g = lane / 4;
      const std::size_t t = lane % 4 * 2;
      for (std::size_t i = 0; i < 2; ++i) {
        c_[lane][2 * i] = c[g + 8 * i][t];
        c_[lane][2 * i + 1] = c[g + 8 * i][t + 1];
      }
    }
  }

  std::array<loading, lanes> loads_;
  std::array<storing, lanes> stores_;
  std::array<std::array<std::uint16_t, 8>, lanes> lines_;
  std::array<float*, lanes> c_;
  std::array<const std::uint32_t*, lanes> a_;
  std::array<std::array<std::uint32_t, 2>, lanes> b_;
};

}  // namespace seqmix_test
