// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "block.hpp"

// What the threads of a block wait for beside their warp.

namespace seqmix_test {

/// The barriers in a block's shared memory, by address.
class memory_barriers {
 public:
  void reset() { all_.clear(); }

  void init(std::uint32_t address, std::uint32_t arrivals) {
    if (arrivals == 0 || address % 8 != 0 || !all_.try_emplace(address, barrier{arrivals}).second) {
      fault(address, "cannot be made");
    }
  }
  /// Whether a barrier lies in these bytes.
  bool any_in(std::uint32_t begin, std::uint32_t bytes) const {
    const auto next = all_.lower_bound(begin >= 8 ? begin - 7 : 0);
    return next != all_.end() && next->first < begin + bytes;
  }
  void publish() {
    for (auto& [address, b] : all_) {
      b.published = true;
    }
  }
  /// Arrives, with so many bytes more to wait for.
  void arrive(std::uint32_t address, std::uint32_t bytes) {
    barrier& b = at(address);
    if (b.missing == 0) {
      fault(address, "counts fewer arrivals");
    }
    b.bytes += bytes;
    --b.missing;
    complete(b);
    emulated_block::current().yield();
  }
  /// The copy engine's.
  void bytes_arrived(std::uint32_t address, std::uint32_t bytes) {
    barrier& b = at(address);
    if (!b.published) {
      fault(address, "is unknown to the copy engine");
    }
    b.bytes -= bytes;
    complete(b);
  }
  /// A poll that others' turns interrupt can miss a phase, but not see two as none.
  void wait(std::uint32_t address, std::uint32_t parity) {
    barrier& b = at(address);
    while ((b.phase & 1) == parity) {
      const std::uint64_t before = b.phase;
      emulated_block::current().sleep(b.waiting, {"the barrier in memory", address, parity});
      if (b.phase > before + 1) {
        fault(address, "went on by two phases while a thread waited");
      }
    }
  }
  /// Of a block that has ended.
  void check_idle() {
    for (auto& [address, b] : all_) {
      if (b.bytes != 0) {
        fault(address, "has a wrong number of bytes in the end");
      }
    }
  }

 private:
  struct barrier {
    std::uint32_t arrivals;
    std::uint32_t missing = arrivals;  // in this phase
    std::int64_t bytes = 0;            // likewise; negative when they come before they are expected
    std::uint64_t phase = 0;
    bool published = false;
    wait_queue waiting = {};
  };

  barrier& at(std::uint32_t address) {
    const auto found = all_.find(address);
    if (found == all_.end()) {
      fault(address, "does not exist");
    }
    return found->second;
  }
  static void complete(barrier& b) {
    if (b.missing == 0 && b.bytes == 0) {
      ++b.phase;
      b.missing = b.arrivals;
      emulated_block::current().wake(b.waiting);
    }
  }
  [[noreturn]] static void fault(std::uint32_t address, const char* text) {
    emulated_block::current().fault("the barrier at " + std::to_string(address) + " " + text);
  }

  std::map<std::uint32_t, barrier> all_;
};

/// The hardware's numbered barriers.
class numbered_barriers {
 public:
  void reset() { all_.assign(16, {}); }

  /// Whether any thread said so.
  bool sync(int id, int threads, bool said = false) {
    at(id).said |= said;
    if (arrived_last(id, threads)) {
      emulated_block::current().yield();
    } else {
      emulated_block::current().sleep(at(id).waiting, {"barrier", static_cast<unsigned>(id)});
    }
    return at(id).heard;
  }
  void arrive(int id, int threads) {
    arrived_last(id, threads);
    emulated_block::current().yield();
  }

 private:
  struct barrier {
    int threads = 0;  // that this phase waits for
    std::vector<unsigned> arrived = {};
    wait_queue waiting = {};
    bool said = false;
    bool heard = false;  // of the phase before
  };

  barrier& at(int id) { return all_.at(static_cast<std::size_t>(id)); }
  bool arrived_last(int id, int threads) {
    barrier& b = at(id);
    const unsigned me = emulated_block::current().thread();
    b.threads = b.arrived.empty() ? threads : b.threads;
    if (b.threads != threads || threads % 32 != 0) {
      fault(id, "is for other numbers of threads");
    }
    if (std::find(b.arrived.begin(), b.arrived.end(), me) != b.arrived.end()) {
      fault(id, "has the same thread twice");
    }
    b.arrived.push_back(me);
    if (b.arrived.size() < static_cast<std::size_t>(threads)) {
      return false;
    }
    b.arrived.clear();
    b.heard = std::exchange(b.said, false);
    emulated_block::current().wake(b.waiting);
    return true;
  }
  [[noreturn]] static void fault(int id, const char* text) {
    emulated_block::current().fault("barrier " + std::to_string(id) + " " + text);
  }

  std::vector<barrier> all_;
};

/// Registers that warpgroups hand to each other.
class register_file {
 public:
  void reset(unsigned threads) {
    constexpr unsigned all = 65536;
    of_threads_.assign(threads, all / threads / 8 * 8);
    free_ = 0;
  }
  void give(unsigned count) {
    unsigned& mine = of_threads_[emulated_block::current().thread()];
    if (count > mine) {
      emulated_block::current().fault("gives registers that it does not have");
    }
    free_ += mine - count;
    mine = count;
    emulated_block::current().wake(waiting_);
  }
  void take(unsigned count) {
    unsigned& mine = of_threads_[emulated_block::current().thread()];
    while (free_ + mine < count) {
      emulated_block::current().sleep(waiting_, {"registers", count});
    }
    free_ -= count - mine;
    mine = count;
  }

 private:
  std::vector<unsigned> of_threads_;
  unsigned free_ = 0;
  wait_queue waiting_;
};

}  // namespace seqmix_test
