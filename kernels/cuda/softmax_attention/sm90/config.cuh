// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../../common/barrier.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Tiles and warps of the prefill kernel for Hopper. A block of threads is one warpgroup that loads
/// and `Warpgroups` that compute, 64 query rows each; tiles are of `Keys` keys. `Ordered`: the
/// computing warpgroups take turns at the tensor cores, so that the exponentials of one run under
/// the products of another.
template <class T, int KeyDim, int ValueDim, int Warpgroups, int Keys, int Stages, bool Ordered>
struct hopper_config {
  using element = T;
  static constexpr int key_dim = KeyDim;
  static constexpr int value_dim = ValueDim;
  static constexpr int warpgroups = Warpgroups;
  static constexpr int block_rows = 64 * Warpgroups;
  static constexpr int block_keys = Keys;
  static constexpr int stages = Stages;
  static constexpr bool ordered = Ordered && Warpgroups > 1;
  static constexpr int computing_threads = 128 * Warpgroups;
  static constexpr int threads = computing_threads + 128;

  // A tile lies in shared memory as blocks of 64 columns, rows of 128 bytes each.
  static constexpr int key_blocks = (KeyDim + 63) / 64;
  static constexpr int value_blocks = (ValueDim + 63) / 64;
  // Queries have tiles of their own for each warpgroup, two where there is room: the next item's
  // are on their way before this one ends.
  static constexpr std::uint32_t q_block_bytes = 64 * 128;
  static constexpr std::uint32_t kv_block_bytes = Keys * 128;
  static constexpr std::uint32_t q_bytes = key_blocks * q_block_bytes;
  static constexpr std::uint32_t k_bytes = key_blocks * kv_block_bytes;
  static constexpr std::uint32_t v_bytes = value_blocks * kv_block_bytes;
  static constexpr std::uint32_t barrier_bytes = 512;
  static constexpr int item_slots = 4;
  // What is known of sequences of different lengths, so many of them, 16 bytes each.
  static constexpr int kept_sequences = 256;
  static constexpr std::uint32_t kept_bytes = 16 * kept_sequences;
  // The tiles have to start on multiples of 1024 bytes; beside all this lie the items.
  static constexpr std::uint32_t most_bytes = 227 * 1024 - 512;
  static constexpr std::uint32_t other_bytes =
      1024 + Stages * (k_bytes + v_bytes) + barrier_bytes + kept_bytes;
  static constexpr int q_stages = other_bytes + 2 * Warpgroups * q_bytes <= most_bytes ? 2 : 1;
  static constexpr std::uint32_t shared_bytes = other_bytes + q_stages * Warpgroups * q_bytes;
  static_assert(shared_bytes <= most_bytes);
  // Whole rows of results go by way of the item's own queries' tile, which nobody reads any more,
  // and the copy engine, where there are two such tiles: one that is not yet read is not missed
  // before the next item's first tile is under way.
  static constexpr bool lays_down = q_stages == 2 && value_blocks <= key_blocks;
  static_assert(Keys % 16 == 0 && KeyDim % 16 == 0 && ValueDim % 32 == 0);

  // 64 Ki registers: what the loading warps do not need the others take.
  static constexpr int loading_registers = Warpgroups == 3 ? 32 : 56;
  static constexpr int computing_registers = Warpgroups == 1 ? 240 : Warpgroups == 2 ? 224 : 160;
};

/// Where everything lies in a block's shared memory.
template <class Config>
struct hopper_layout {
  std::uint32_t base;

  /// From the address of the dynamic shared memory.
  static __device__ __forceinline__ hopper_layout at(std::uint32_t shared) {
    return {(shared + 1023) & ~std::uint32_t{1023}};
  }
  __device__ __forceinline__ std::uint32_t q(int group, int stage) const {
    return base + static_cast<std::uint32_t>(group * Config::q_stages + stage) * Config::q_bytes;
  }
  __device__ __forceinline__ std::uint32_t k(int stage) const {
    return q(Config::warpgroups, 0) + static_cast<std::uint32_t>(stage) * Config::k_bytes;
  }
  __device__ __forceinline__ std::uint32_t v(int stage) const {
    return k(Config::stages) + static_cast<std::uint32_t>(stage) * Config::v_bytes;
  }

  // full: it has arrived. empty: nobody reads it any more. checked: it is known whether the values
  // have an infinity or a NaN.
  __device__ __forceinline__ shared_barrier q_full(int group, int stage) const {
    return barrier(2 * Config::item_slots + group * Config::q_stages + stage);
  }
  __device__ __forceinline__ shared_barrier q_empty(int group, int stage) const {
    return q_full(Config::warpgroups + group, stage);
  }
  __device__ __forceinline__ shared_barrier item_full(int slot) const { return barrier(slot); }
  __device__ __forceinline__ shared_barrier item_empty(int slot) const {
    return barrier(Config::item_slots + slot);
  }
  __device__ __forceinline__ shared_barrier k_full(int stage) const { return staged(0, stage); }
  __device__ __forceinline__ shared_barrier k_empty(int stage) const { return staged(1, stage); }
  __device__ __forceinline__ shared_barrier v_full(int stage) const { return staged(2, stage); }
  __device__ __forceinline__ shared_barrier v_empty(int stage) const { return staged(3, stage); }
  __device__ __forceinline__ shared_barrier v_checked(int stage) const { return staged(4, stage); }
  /// As many tiles that are to be checked are on their way: these stages count such tiles.
  __device__ __forceinline__ shared_barrier v_to_check(int stage) const { return staged(5, stage); }
  /// A word of each warp that looked: whether it found an infinity or a NaN among the values.
  __device__ __forceinline__ std::uint32_t v_nonfinite(int stage) const {
    return v(Config::stages) + Config::barrier_bytes - 16 * static_cast<std::uint32_t>(stage + 1);
  }
  __device__ __forceinline__ std::uint32_t kept_sequences() const {
    return v(Config::stages) + Config::barrier_bytes;
  }

 private:
  static constexpr int unstaged =
      2 * Config::item_slots + 2 * Config::warpgroups * Config::q_stages;
  static_assert(8 * (unstaged + 6 * Config::stages) + 16 * Config::stages <= Config::barrier_bytes);
  __device__ __forceinline__ shared_barrier barrier(int i) const {
    return {v(Config::stages) + 8 * static_cast<std::uint32_t>(i)};
  }
  __device__ __forceinline__ shared_barrier staged(int kind, int stage) const {
    return barrier(unstaged + kind * Config::stages + stage);
  }
};

/// The numbered barriers in use.
struct block_barriers {
  static constexpr int computing = 1;  // all computing warpgroups
  static constexpr int own = 2;        // and on: one for each computing warpgroup
  static constexpr int turn = 5;       // and on: likewise
};

/// Walks around the stages: which one is next, and the parity of its barriers' phase.
template <int Stages>
struct stage_cursor {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
