// SPDX-License-Identifier: Apache-2.0
// seqmix never creates a thread. Here it runs on a program's own pool, and the number of threads
// does not change a bit of the result.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <seqmix/seqmix.hpp>
#include <thread>
#include <vector>

/// A pool that a program may already have: each thread gets the job once.
class pool {
 public:
  explicit pool(int threads) {
    for (int worker = 0; worker < threads; ++worker) {
      threads_.emplace_back([this, worker](std::stop_token stop) { serve(stop, worker); });
    }
  }
  int size() const { return static_cast<int>(threads_.size()); }
  void on_each_thread(std::function<void(int worker)> job) {
    std::unique_lock lock(mutex_);
    job_ = std::move(job);
    busy_ = size();
    ++round_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void serve(std::stop_token stop, int worker) {
    std::unique_lock lock(mutex_);
    for (int seen = 0; changed_.wait(lock, stop, [&] { return round_ != seen; }); ++seen) {
      lock.unlock();
      job_(worker);
      lock.lock();
      if (--busy_ == 0) changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::function<void(int)> job_;
  int busy_ = 0, round_ = 0;
  std::vector<std::jthread> threads_;  // last: they stop before what they use is gone
};

/// The adapter: all that seqmix needs to know of the pool.
struct pool_executor {
  pool& threads;
  int concurrency() const { return threads.size(); }
  void run(std::int64_t n, seqmix::task_ref task) const {
    std::atomic<std::int64_t> next = 0;
    threads.on_each_thread([&](int worker) {
      for (std::int64_t index = next++; index < n; index = next++) task(index, worker);
    });
  }
};

int main() {
  const int T = 700, H = 3, D = 64;
  std::vector<float> x(T * H * D), o(x.size()), first;
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i * 7919 % 1009) / 256 - 2;  // any numbers
  }
  const auto in = seqmix::view(x.data(), 1, T, H, D);
  for (const int count : {1, 2, 3}) {
    pool threads(count);
    pool_executor executor{threads};
    seqmix::softmax_attention(in, in, in, seqmix::view(o.data(), 1, T, H, D), {.causal = true},
                              {.executor = executor});
    if (first.empty()) first = o;
    std::printf("%d threads: %s\n", count, o == first ? "bit-identical" : "DIFFERENT");
    if (o != first) return 1;
  }
}
