// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "barriers.hpp"
#include "shared_memory.hpp"

namespace seqmix_test {

/// What a CUtensorMap holds here: axes from the innermost out, strides in bytes. Elements are of 16
/// bits, and their chunks of 16 bytes exchanged in lines of 128.
struct encoded_map {
  const std::byte* base;
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

/// Copies a box at once. What lies outside the tensor is zero.
inline void copy_now(shared_memory_window& shared, std::uint32_t to, const encoded_map& map,
                     const std::int64_t (&corner)[4]) {
  const auto inside = [&](int axis, std::int64_t i) {
    return i >= 0 && static_cast<std::uint64_t>(i) < map.extents[axis];
  };
  std::vector<std::uint16_t> row(map.box[0]);
  for (std::uint32_t line = 0; line < map.box[1] * map.box[2] * map.box[3]; ++line) {
    const std::int64_t head = corner[1] + line % map.box[1];
    const std::int64_t token = corner[2] + line / map.box[1] % map.box[2];
    const std::int64_t batch = corner[3] + line / map.box[1] / map.box[2];
    for (std::uint32_t e = 0; e < map.box[0]; ++e) {
      row[e] = 0;
      if (inside(0, corner[0] + e) && inside(1, head) && inside(2, token) && inside(3, batch)) {
        const std::uint64_t at = static_cast<std::uint64_t>(corner[0] + e) * 2 +
                                 static_cast<std::uint64_t>(head) * map.strides[0] +
                                 static_cast<std::uint64_t>(token) * map.strides[1] +
                                 static_cast<std::uint64_t>(batch) * map.strides[2];
        std::memcpy(&row[e], map.base + at, 2);
      }
    }
    for (std::uint32_t byte = 0; byte < 2 * map.box[0]; byte += 16) {
      shared.write(exchanged(to + line * 2 * map.box[0] + byte), row.data() + byte / 2, 16);
    }
  }
}

/// Copies a box at some later time. From now on there is NaN where it will be.
inline void copy_later(shared_memory_window& shared, memory_barriers& barriers, std::uint32_t to,
                       const CUtensorMap& from, std::uint32_t barrier,
                       const std::int64_t (&corner)[4]) {
  const encoded_map map = encoded_map::of(from);
  if (to % 128 != 0 || barriers.any_in(to, map.box_bytes())) {
    emulated_block::current().fault("no copy to shared memory at " + std::to_string(to));
  }
  const std::vector<std::byte> nothing(map.box_bytes(), std::byte{0xff});
  shared.write(to, nothing.data(), nothing.size());
  emulated_block::current().later(
      [&shared, &barriers, to, map, barrier, at = std::to_array(corner)] {
        copy_now(shared, to, map, {at[0], at[1], at[2], at[3]});
        barriers.bytes_arrived(barrier, map.box_bytes());
      });
  emulated_block::current().yield();
}

}  // namespace seqmix_test
