// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <seqmix/core/executor.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tensor.hpp"

namespace seqmix_test {

/// Whether the running test case may start threads, which those with the tag [threads] may: they
/// are what runs under the thread sanitizer. See thread_tag.cpp.
inline std::atomic<bool> threads_allowed{true};

/// An executor of plain std::threads, which thread sanitizers follow. Every `run` starts and joins
/// its threads. With a seed, each run hands the tasks out in another shuffled order, to whichever
/// thread asks first; without one, task i goes to thread i % threads.
class pool_executor {
 public:
  explicit pool_executor(int threads, std::uint64_t shuffle_seed = 0) noexcept
      : threads_(threads), seed_(shuffle_seed) {}

  int concurrency() const noexcept { return threads_; }
  std::int64_t tasks_seen() const noexcept { return tasks_; }

  void run(std::int64_t n, seqmix::task_ref f) {
    if (threads_ > 1 && !threads_allowed) {
      throw std::logic_error("a test case that starts threads needs the tag [threads]");
    }
    tasks_ += n;
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    if (seed_ != 0) {
      for (std::size_t i = order.size(); i > 1; --i) {
        seed_ = mix(seed_) | 1;
        std::swap(order[i - 1], order[seed_ % i]);
      }
    }
    std::atomic<std::int64_t> next{0};
    const auto work = [&](int worker) {
      if (seed_ == 0) {
        for (std::int64_t i = worker; i < n; i += threads_) {
          f(order[static_cast<std::size_t>(i)], worker);
        }
        return;
      }
      for (std::int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
        f(order[static_cast<std::size_t>(i)], worker);
      }
    };
    std::vector<std::thread> others;
    for (int worker = 1; worker < threads_; ++worker) {
      others.emplace_back(work, worker);
    }
    work(0);
    for (std::thread& t : others) {
      t.join();
    }
  }

 private:
  int threads_;
  std::uint64_t seed_;
  std::int64_t tasks_ = 0;
};

}  // namespace seqmix_test
