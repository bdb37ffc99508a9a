// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "block.hpp"
#include "shared_memory.hpp"

namespace seqmix_test {

/// The copies of 16 bytes that the threads of a block issue for themselves (cp.async). A group of
/// them is carried out at any time after its commit, at the latest when its thread waits for it;
/// from the issue up to then there is NaN where it will be.
class thread_copies {
 public:
  void reset(std::size_t threads) { of_threads_.assign(threads, {}); }

  /// Of the first `bytes` at `from`, which `readable` must hold if it says anything, and zeros.
  void issue(shared_memory_window& shared, std::uint32_t to, const void* from, std::uint32_t bytes,
             const std::vector<std::span<const std::byte>>& readable) {
    const auto* const first = static_cast<const std::byte*>(from);
    if (reinterpret_cast<std::uintptr_t>(from) % chunk != 0 || bytes > chunk) {
      emulated_block::current().fault("a copy of no chunk");
    }
    bool held = bytes == 0 || readable.empty();
    for (const std::span<const std::byte>& memory : readable) {
      held |= first >= memory.data() && first + bytes <= memory.data() + memory.size();
    }
    if (!held) {
      emulated_block::current().fault("a copy from outside the tensors");
    }
    shared.bring(to, nothing);
    mine().issued.push_back({to, first, bytes});
  }

  void commit(shared_memory_window& shared) {
    per_thread& t = mine();
    if (t.issued.empty()) {
      t.groups.push_back(nothing_to_do);
    } else {
      t.groups.push_back(emulated_block::current().later(
          [&shared, copies = std::exchange(t.issued, {})] { carry_out(shared, copies); }));
    }
    emulated_block::current().yield();
  }

  /// Until at most so many of the thread's groups are under way.
  void wait(std::size_t most_pending) {
    per_thread& t = mine();
    while (t.groups.size() > most_pending) {
      emulated_block::current().finish(t.groups.front());
      t.groups.pop_front();
    }
    emulated_block::current().yield();
  }

 private:
  static constexpr std::size_t chunk = shared_memory_window::brought_bytes;
  static constexpr shared_memory_window::brought nothing = [] {
    shared_memory_window::brought x{};
    x.fill(std::byte{0xff});
    return x;
  }();

  static constexpr std::uint64_t nothing_to_do = 0;  // no number of the emulated block's

  struct copy {
    std::uint32_t to;
    const std::byte* from;
    std::uint32_t bytes;
  };
  struct per_thread {
    std::vector<copy> issued = {};
    std::deque<std::uint64_t> groups = {};  // the emulated block's numbers
  };

  per_thread& mine() { return of_threads_[emulated_block::current().thread()]; }

  static void carry_out(shared_memory_window& shared, const std::vector<copy>& copies) {
    for (const copy& c : copies) {
      shared_memory_window::brought x{};
      std::memcpy(x.data(), c.from, c.bytes);
      shared.bring(c.to, x);
    }
  }

  std::vector<per_thread> of_threads_;
};

}  // namespace seqmix_test
