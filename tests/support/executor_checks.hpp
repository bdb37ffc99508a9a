// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <seqmix/core/executor.hpp>
#include <thread>
#include <vector>

#include "catch.hpp"

/// What every executor promises: each index once, worker ids in range, none held twice at a time,
/// and nothing left running at the return. Returns the most calls that were active together.
inline int check_executor(seqmix::executor_ref e, std::int64_t n) {
  const int workers = e.concurrency();
  REQUIRE(workers >= 1);
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
  std::vector<std::atomic<int>> held(static_cast<std::size_t>(workers));
  std::atomic<int> outside{0}, shared{0}, active{0}, most{0};
  const auto task = [&](std::int64_t index, int worker) {
    if (index < 0 || index >= n || worker < 0 || worker >= workers) {
      ++outside;
      return;
    }
    shared += held[static_cast<std::size_t>(worker)].fetch_add(1) != 0;
    const int now = ++active;
    for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
    }
    std::this_thread::yield();
    ++seen[static_cast<std::size_t>(index)];
    --active;
    --held[static_cast<std::size_t>(worker)];
  };
  e.run(n, task);
  CHECK(active == 0);
  CHECK(outside == 0);
  CHECK(shared == 0);
  int wrong = 0;
  for (const auto& s : seen) {
    wrong += s != 1;
  }
  CHECK(wrong == 0);
  return most;
}
