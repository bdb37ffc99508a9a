// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "barriers.hpp"
#include "shared_memory.hpp"

namespace seqmix_test {

/// What a CUtensorMap holds here: axes from the innermost out, strides in bytes. Elements are of 16
/// bits, and their chunks of 16 bytes exchanged in lines of 128.
struct encoded_map {
  std::byte* base;
  std::uint64_t extents[4];
  std::uint64_t strides[3];
  std::uint32_t box[4];

  static encoded_map of(const CUtensorMap& map) {
    encoded_map m;
    std::memcpy(&m, &map, sizeof(m));
    return m;
  }
  std::uint32_t box_bytes() const { return 2 * box[0] * box[1] * box[2] * box[3]; }
};
static_assert(sizeof(encoded_map) <= sizeof(CUtensorMap));

/// Where the 128-byte exchange puts a chunk of 16 bytes.
inline std::uint32_t exchanged(std::uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

/// Calls `f(shared, global)` for each element of a box: its address in shared memory, and where it
/// is in the tensor, or null outside.
template <class F>
void for_box(std::uint32_t shared, const encoded_map& map,
             const std::array<std::int64_t, 4>& corner, F&& f) {
  const auto inside = [&](int axis, std::int64_t i) {
    return i >= 0 && static_cast<std::uint64_t>(i) < map.extents[axis];
  };
  for (std::uint32_t line = 0; line < map.box[1] * map.box[2] * map.box[3]; ++line) {
    const std::int64_t head = corner[1] + line % map.box[1];
    const std::int64_t token = corner[2] + line / map.box[1] % map.box[2];
    const std::int64_t batch = corner[3] + line / map.box[1] / map.box[2];
    const bool line_inside = inside(1, head) && inside(2, token) && inside(3, batch);
    for (std::uint32_t e = 0; e < map.box[0]; ++e) {
      std::byte* global = nullptr;
      if (line_inside && inside(0, corner[0] + e)) {
        global = map.base + static_cast<std::uint64_t>(corner[0] + e) * 2 +
                 static_cast<std::uint64_t>(head) * map.strides[0] +
                 static_cast<std::uint64_t>(token) * map.strides[1] +
                 static_cast<std::uint64_t>(batch) * map.strides[2];
      }
      f(exchanged(shared + (line * map.box[0] + e) * 2), global);
    }
  }
}

/// Copies a box at once. What lies outside the tensor is zero.
inline void copy_now(shared_memory_window& shared, std::uint32_t to, const encoded_map& map,
                     const std::array<std::int64_t, 4>& corner) {
  for_box(to, map, corner, [&](std::uint32_t address, const std::byte* from) {
    std::uint16_t element = 0;
    if (from != nullptr) {
      std::memcpy(&element, from, sizeof(element));
    }
    shared.write(address, &element, sizeof(element));
  });
}

/// The other way. What lies outside the tensor is not written.
inline void store_now(const shared_memory_window& shared, std::uint32_t from,
                      const encoded_map& map, const std::array<std::int64_t, 4>& corner) {
  for_box(from, map, corner, [&](std::uint32_t address, std::byte* to) {
    if (to != nullptr) {
      std::memcpy(to, shared.read(address, 2), 2);
    }
  });
}

/// Copies a box at some later time. From now on there is NaN where it will be.
inline void copy_later(shared_memory_window& shared, memory_barriers& barriers, std::uint32_t to,
                       const CUtensorMap& from, std::uint32_t barrier,
                       const std::array<std::int64_t, 4>& corner) {
  const encoded_map map = encoded_map::of(from);
  if (to % 128 != 0 || barriers.any_in(to, map.box_bytes())) {
    emulated_block::current().fault("no copy to shared memory at " + std::to_string(to));
  }
  const std::vector<std::byte> nothing(map.box_bytes(), std::byte{0xff});
  shared.write(to, nothing.data(), nothing.size());
  emulated_block::current().later([&shared, &barriers, to, map, barrier, corner] {
    copy_now(shared, to, map, corner);
    barriers.bytes_arrived(barrier, map.box_bytes());
  });
  emulated_block::current().yield();
}

/// The boxes that threads have stored (cp.async.bulk.tensor to global memory). A group of them
/// reads shared memory at any time after its commit, at the latest when its thread waits for it.
class tensor_stores {
 public:
  void reset(std::size_t threads) { of_threads_.assign(threads, {}); }

  void issue(const CUtensorMap& to, std::uint32_t from, const std::array<std::int64_t, 4>& corner) {
    if (from % 128 != 0) {
      emulated_block::current().fault("no copy from shared memory at " + std::to_string(from));
    }
    mine().issued.push_back({encoded_map::of(to), from, corner});
  }
  void commit(const shared_memory_window& shared) {
    per_thread& t = mine();
    t.groups.push_back(
        emulated_block::current().later([&shared, boxes = std::exchange(t.issued, {})] {
          for (const box& b : boxes) {
            store_now(shared, b.from, b.to, b.corner);
          }
        }));
    emulated_block::current().yield();
  }
  /// For all of the thread's groups.
  void wait() {
    for (const std::uint64_t group : std::exchange(mine().groups, {})) {
      emulated_block::current().finish(group);
    }
    emulated_block::current().yield();
  }

 private:
  struct box {
    encoded_map to;
    std::uint32_t from;
    std::array<std::int64_t, 4> corner;
  };
  struct per_thread {
    std::vector<box> issued = {};
    std::vector<std::uint64_t> groups = {};  // the emulated block's numbers
  };

  per_thread& mine() { return of_threads_[emulated_block::current().thread()]; }

  std::vector<per_thread> of_threads_;
};

}  // namespace seqmix_test
