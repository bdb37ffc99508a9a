// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <seqmix/core/scalar.hpp>
#include <utility>
#include <vector>

#include "block.hpp"
#include "elements.hpp"
#include "shared_memory.hpp"
#include "tensor_copies.hpp"

// The matrix products of warpgroups (wgmma), of which each warp computes its 16 rows.

namespace seqmix_test {

/// An operand in shared memory, of lines of 128 bytes whose chunks are exchanged: from the bits
/// that the tensor cores get.
struct operand_in_memory {
  std::uint32_t start;
  std::uint32_t leading;  // bytes between blocks of 64 elements along the lines
  std::uint32_t stride;   // bytes between groups of eight lines

  explicit operand_in_memory(std::uint64_t bits)
      : start(field(bits, 0)), leading(field(bits, 16)), stride(field(bits, 32)) {
    const std::uint64_t others = bits & ~(fields | std::uint64_t{1} << 62);
    if (bits >> 62 != 1 || others != 0) {
      emulated_block::current().fault("a matrix descriptor of another layout");
    }
  }

  /// The chunk that begins at an element of a line.
  std::uint32_t chunk(int line, int element) const {
    const auto l = static_cast<std::uint32_t>(line);
    const auto e = static_cast<std::uint32_t>(element);
    return exchanged(start + l / 8 * stride + l % 8 * 128 + e / 64 * leading + e % 64 * 2);
  }

 private:
  static constexpr std::uint64_t fields = 0x00003fff3fff3fff;
  static std::uint32_t field(std::uint64_t bits, int at) {
    return static_cast<std::uint32_t>(bits >> at & 0x3fff) << 4;
  }
};

/// One product of 64 x columns x 16, as all lanes give it.
struct product {
  seqmix::scalar_type type;
  int columns;
  bool add;
  bool left_in_registers;  // then the right one's lines run along the columns, else along the sum
  std::uint64_t left;
  std::uint64_t right;
  std::size_t accumulators = 0;  // their number among those that are in use
  friend bool operator==(const product&, const product&) = default;
};

/// A warp's products. They are computed when they are committed, when they are waited for, or
/// together with later ones: what they read must stay, and be there, for all that time. Their
/// accumulators are NaN until they are waited for.
class warp_products {
 public:
  explicit warp_products(unsigned warp) : warp_in_group_(static_cast<int>(warp % 4)) {}

  void begin() { mine().begun = true; }

  void issue(product p, float* c, const std::uint32_t* a) {
    lane_products& lane = mine();
    if (!lane.begun) {
      emulated_block::current().fault("a product before its fence");
    }
    p.accumulators = hold(lane, c, p.columns);
    lane.issued.push_back({p, a});
  }

  void commit(const shared_memory_window& shared, std::vector<product>& of_warpgroup) {
    emulated_block::current().converge("commit of products", [&] {
      group g;
      for (std::size_t i = 0; i < lanes_[0].issued.size(); ++i) {
        step s{lanes_[0].issued[i].what, {}};
        for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
          const std::vector<issued_product>& other = lanes_[lane].issued;
          if (other.size() != lanes_[0].issued.size() || !(other[i].what == s.what)) {
            emulated_block::current().fault("lanes give different products");
          }
          s.a[lane] = other[i].a;
        }
        same_in_warpgroup(s.what, of_warpgroup);
        ++held_[s.what.accumulators].pending;
        g.steps.push_back(s);
      }
      for (lane_products& lane : lanes_) {
        lane.issued.clear();
      }
      groups_.push_back(std::move(g));
      if (emulated_block::current().below(2) == 0) {
        compute(shared, groups_.size());
      }
    });
  }

  void wait(const shared_memory_window& shared, std::size_t most_pending) {
    emulated_block::current().converge("wait for products", [&] {
      const std::size_t done =
          groups_.size() > most_pending ? groups_.size() - most_pending : std::size_t{0};
      compute(shared, done);
      for (std::size_t i = 0; i < done; ++i) {
        for (const step& s : groups_.front().steps) {
          --held_[s.what.accumulators].pending;
        }
        groups_.pop_front();
      }
      for (std::size_t i = 0; i < held_.size(); ++i) {
        if (held_[i].columns != 0 && held_[i].pending == 0) {
          give_back(i);
        }
      }
      for (lane_products& lane : lanes_) {
        lane.begun = false;
      }
    });
  }

 private:
  static constexpr unsigned lanes = emulated_block::warp_size;
  static constexpr std::uint32_t under_way = 0x7fbad000;  // a NaN

  struct issued_product {
    product what;
    const std::uint32_t* a;
  };
  struct lane_products {
    bool begun = false;
    std::vector<issued_product> issued;
    std::array<float*, 2> accumulators = {};
  };
  struct step {
    product what;
    std::array<const std::uint32_t*, lanes> a;
  };
  struct group {
    std::vector<step> steps;
    bool computed = false;
  };
  /// Accumulators while products are under way: 16 rows.
  struct held_accumulators {
    int columns = 0;  // 0: not in use
    int pending = 0;  // steps
    std::vector<float> value = {};
  };

  lane_products& mine() { return lanes_[emulated_block::current().lane()]; }
  /// Where a lane's accumulator is among a warp's 16 rows.
  static std::size_t place(unsigned lane, int i, int columns) {
    const int row = static_cast<int>(lane / 4) + i / 2 % 2 * 8;
    const int column = i / 4 * 8 + static_cast<int>(lane % 4) * 2 + i % 2;
    return static_cast<std::size_t>(row * columns + column);
  }

  std::size_t hold(lane_products& lane, float* c, int columns) {
    for (std::size_t i = 0; i < held_.size(); ++i) {
      if (lane.accumulators[i] == c) {
        return i;
      }
    }
    const std::size_t i = lane.accumulators[0] == nullptr ? 0 : 1;
    if (lane.accumulators[i] != nullptr) {
      emulated_block::current().fault("products with more accumulators than are emulated");
    }
    lane.accumulators[i] = c;
    held_[i].columns = columns;
    held_[i].value.resize(static_cast<std::size_t>(16 * columns));
    for (int n = 0; n < columns / 2; ++n) {
      held_[i].value[place(emulated_block::current().lane(), n, columns)] = c[n];
      c[n] = std::bit_cast<float>(under_way);
    }
    return i;
  }
  void give_back(std::size_t which) {
    held_accumulators& h = held_[which];
    for (unsigned lane = 0; lane < lanes; ++lane) {
      float* const c = std::exchange(lanes_[lane].accumulators[which], nullptr);
      for (int n = 0; n < h.columns / 2; ++n) {
        if (std::bit_cast<std::uint32_t>(c[n]) != under_way) {
          emulated_block::current().fault("accumulators were written under a product");
        }
        c[n] = h.value[place(lane, n, h.columns)];
      }
    }
    h.columns = 0;
  }

  /// The four warps of a warpgroup give the same products.
  void same_in_warpgroup(const product& p, std::vector<product>& of_warpgroup) {
    if (given_ == of_warpgroup.size()) {
      of_warpgroup.push_back(p);
    } else if (!(of_warpgroup[given_] == p)) {
      emulated_block::current().fault("warps of one warpgroup give different products");
    }
    ++given_;
  }

  void compute(const shared_memory_window& shared, std::size_t groups) {
    for (std::size_t i = 0; i < groups; ++i) {
      if (!std::exchange(groups_[i].computed, true)) {
        for (const step& s : groups_[i].steps) {
          compute(shared, s);
        }
      }
    }
  }
  void compute(const shared_memory_window& shared, const step& s) {
    const product& p = s.what;
    const std::vector<float>& number = numbers(p.type);
    float a[16][16];
    if (p.left_in_registers) {
      unpack_left(s.a, number, a);
    } else {
      const operand_in_memory left(p.left);
      for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < 16; k += 8) {
          load(shared, left.chunk(16 * warp_in_group_ + row, k), number, &a[row][k], 1);
        }
      }
    }
    float b[16][256];
    const operand_in_memory right(p.right);
    for (int n = 0; n < p.columns; n += p.left_in_registers ? 8 : 1) {
      for (int k = 0; k < 16; k += p.left_in_registers ? 1 : 8) {
        if (p.left_in_registers) {
          load(shared, right.chunk(k, n), number, &b[k][n], 1);
        } else {
          load(shared, right.chunk(n, k), number, &b[k][n], 256);
        }
      }
    }
    float* c = held_[p.accumulators].value.data();
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < p.columns; n += strip, c += strip) {
        multiply_add(a[row], &b[0][n], c, p.add);
      }
    }
  }

  static constexpr int strip = 16;
  /// c = a b or c += a b for columns side by side.
  static void multiply_add(const float* a, const float* b, float* c, bool add) {
    float sum[strip];
    for (int i = 0; i < strip; ++i) {
      sum[i] = add ? c[i] : 0;
    }
    for (int k = 0; k < 16; ++k) {
      for (int i = 0; i < strip; ++i) {
        sum[i] += a[k] * b[256 * k + i];
      }
    }
    for (int i = 0; i < strip; ++i) {
      c[i] = sum[i];
    }
  }
  static void load(const shared_memory_window& shared, std::uint32_t chunk,
                   const std::vector<float>& number, float* to, int step) {
    std::uint16_t bits[8];
    std::memcpy(bits, shared.read(chunk, sizeof(bits)), sizeof(bits));
    for (int i = 0; i < 8; ++i) {
      to[i * step] = number[bits[i]];
    }
  }

  int warp_in_group_;
  std::array<lane_products, lanes> lanes_;
  std::array<held_accumulators, 2> held_;
  std::deque<group> groups_;
  std::size_t given_ = 0;  // products so far
};

}  // namespace seqmix_test
