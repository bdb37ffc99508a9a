// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fiber.hpp"

// A block of threads of a GPU, one after the other on one thread of the host: whose turn it is, and
// when what runs in the background happens, is drawn from a seed.

namespace seqmix_test {

/// What a kernel does wrong. It ends the launch.
struct kernel_fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a thread waits for, in words for who reads of a deadlock.
struct waiting_place {
  const char* what = "";
  std::uint32_t where = 0;
  std::uint32_t parity = 0;
  friend bool operator==(const waiting_place&, const waiting_place&) = default;
};

/// The threads that wait for one thing.
using wait_queue = std::vector<unsigned>;

class emulated_block {
 public:
  static constexpr unsigned warp_size = 32;

  emulated_block(unsigned threads, std::uint64_t seed)
      : random_(seed), threads_(threads), warps_((threads + warp_size - 1) / warp_size) {
    std::iota(order_.begin(), order_.end(), 0u);
    // Some blocks of threads switch at every chance, others let a warp run as far as it can.
    constexpr unsigned patience[] = {1, 4, 32, 1024};
    patience_ = patience[below(4)];
    constexpr unsigned lateness[] = {2, 16, never};
    lateness_ = lateness[below(3)];
  }

  /// Calls `body` in every thread.
  void run(const std::function<void()>& body) {
    emulated_block* const outer = std::exchange(current_(), this);
    body_ = &body;
    const struct restore {
      emulated_block* to;
      ~restore() { current_() = to; }
    } restore{outer};
    for (unsigned t = 0; t < threads_.size(); ++t) {
      start(t);
    }
    while (finished_ < threads_.size()) {
      if (!outstanding_.empty() &&
          (runnable_warps_ == 0 || (lateness_ != never && below(lateness_) == 0))) {
        do_outstanding(below(static_cast<unsigned>(outstanding_.size())));
      } else if (runnable_warps_ == 0) {
        throw kernel_fault(deadlock());
      } else {
        run_lanes(next_warp());
      }
      if (!fault_.empty()) {
        throw kernel_fault(fault_);
      }
    }
    if (!outstanding_.empty()) {
      throw kernel_fault("the block of threads ended before copies to or from its shared memory");
    }
  }

  // What threads call.

  static emulated_block& current() { return *current_(); }
  unsigned thread() const { return running_; }
  unsigned warp() const { return running_ / warp_size; }
  unsigned lane() const { return running_ % warp_size; }
  std::size_t thread_count() const { return threads_.size(); }

  /// Others may have their turn.
  void yield() { switch_to_scheduler(); }
  void sleep(wait_queue& on, const waiting_place& place) {
    on.push_back(running_);
    threads_[running_].place = place;
    set_runnable(running_, false);
    switch_to_scheduler();
  }
  void wake(wait_queue& all) {
    for (const unsigned t : all) {
      set_runnable(t, true);
    }
    all.clear();
  }
  /// Waits for the other lanes of the warp, which must come for the same. The last one, when it has
  /// its next turn, calls `finish`.
  template <class Finish>
  void converge(const char* what, Finish&& finish) {
    warp_state& w = warps_[warp()];
    if (w.arrived != 0 && std::string_view(w.what) != what) {
      fault(std::string("lanes of one warp at ") + w.what + " and at " + what);
    }
    w.what = what;
    if (++w.arrived < warp_size) {
      sleep(w.queue, {what});
      return;
    }
    yield();
    finish();
    w.arrived = 0;
    wake(w.queue);
  }
  /// The words of all lanes, given one each, as `read` sees them.
  template <class Read>
  auto exchange(const char* what, std::int64_t word, Read&& read) {
    warp_state& w = warps_[warp()];
    const unsigned turn = w.turn;  // no lane is ever two turns ahead
    w.words[turn][lane()] = word;
    converge(what, [&] { w.turn ^= 1; });
    return read(w.words[turn]);
  }
  /// Has it done in the background, at any later time. Gives its number.
  std::uint64_t later(std::function<void()> work) {
    outstanding_.push_back({++last_number_, std::move(work)});
    return last_number_;
  }
  /// Has it done by now.
  void finish(std::uint64_t number) {
    const auto found = std::find_if(outstanding_.begin(), outstanding_.end(),
                                    [&](const background_work& w) { return w.number == number; });
    if (found != outstanding_.end()) {
      do_outstanding(static_cast<std::size_t>(found - outstanding_.begin()));
    }
  }
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

  /// Ends the launch.
  [[noreturn]] void fault(const std::string& text) {
    if (running_ == none) {
      throw kernel_fault(text);
    }
    fault_ = "thread " + std::to_string(running_) + ": " + text;
    switch_to_scheduler();
    std::abort();  // nobody resumes it
  }

 private:
  static constexpr unsigned none = ~0u;
  static constexpr unsigned never = ~0u;
  static constexpr unsigned most_warps = 32;
  static constexpr std::size_t stack_bytes = std::size_t{256} << 10;

  struct thread_state {
    fiber runs;
    bool finished = false;
    waiting_place place;
  };
  struct warp_state {
    std::uint32_t runnable = 0;
    unsigned arrived = 0;  // at the place where lanes wait for each other
    const char* what = "";
    wait_queue queue;
    unsigned turn = 0;
    std::int64_t words[2][warp_size];
  };

  struct background_work {
    std::uint64_t number;
    std::function<void()> work;
  };

  static emulated_block*& current_() {
    static emulated_block* block = nullptr;
    return block;
  }
  /// Touched where threads use them only, and by one block after the other.
  static std::byte* stack_of(unsigned thread) {
    static const std::unique_ptr<std::byte[]> all(
        new std::byte[stack_bytes * most_warps * warp_size]);
    return all.get() + stack_bytes * thread;
  }

  static void thread_main() {
    emulated_block& block = current();
    (*block.body_)();
    block.threads_[block.running_].finished = true;
    block.threads_[block.running_].place = {};
    block.set_runnable(block.running_, false);
    ++block.finished_;
    block.switch_to_scheduler();
  }
  void start(unsigned t) {
    threads_[t].runs.prepare(stack_of(t), stack_bytes, &thread_main);
    set_runnable(t, true);
  }
  void switch_to_scheduler() { switch_fibers(threads_[running_].runs, scheduler_); }
  void resume(unsigned t);

  void set_runnable(unsigned t, bool can) {
    std::uint32_t& lanes = warps_[t / warp_size].runnable;
    const std::uint32_t bit = 1u << t % warp_size;
    lanes = can ? lanes | bit : lanes & ~bit;
    const std::uint32_t warp_bit = 1u << t / warp_size;
    runnable_warps_ = lanes != 0 ? runnable_warps_ | warp_bit : runnable_warps_ & ~warp_bit;
  }
  unsigned next_warp() {
    if (below(patience_) == 0) {
      std::shuffle(order_.begin(), order_.end(), random_);
    }
    return *std::find_if(order_.begin(), order_.end(),
                         [&](unsigned w) { return (runnable_warps_ >> w & 1) != 0; });
  }
  /// The lanes that can go on, or some of them, in some order, until they wait.
  void run_lanes(unsigned w) {
    std::uint32_t lanes = warps_[w].runnable;
    if (const auto some = static_cast<std::uint32_t>(random_()); below(4) == 0) {
      lanes &= some;
    }
    const unsigned first = below(warp_size);
    const unsigned step = below(2) == 0 ? 1 : warp_size - 1;
    for (unsigned i = 0; i < warp_size && fault_.empty(); ++i) {
      const unsigned lane = (first + i * step) % warp_size;
      if ((lanes >> lane & 1) != 0) {
        resume(w * warp_size + lane);
      }
    }
  }
  void do_outstanding(std::size_t which) {
    std::swap(outstanding_[which], outstanding_.back());
    const std::function<void()> work = std::move(outstanding_.back().work);
    outstanding_.pop_back();
    work();
  }

  std::string deadlock() const {
    std::ostringstream text;
    text << "deadlock:";
    for (unsigned t = 0; t < threads_.size();) {
      const unsigned first = t;
      const auto same = [&](unsigned other) {
        return threads_[other].finished == threads_[first].finished &&
               threads_[other].place == threads_[first].place;
      };
      while (t < threads_.size() && t / warp_size == first / warp_size && same(t)) {
        ++t;
      }
      const waiting_place& place = threads_[first].place;
      text << "\n  threads " << first << " to " << t - 1;
      if (threads_[first].finished) {
        text << " have ended";
      } else {
        text << " at " << place.what << " " << place.where << ", parity " << place.parity;
      }
    }
    return text.str();
  }

  std::mt19937_64 random_;
  std::vector<thread_state> threads_;
  std::vector<warp_state> warps_;
  std::vector<unsigned> order_ = std::vector<unsigned>(most_warps);  // of warps: the first that can
  unsigned patience_ = 1;
  unsigned lateness_ = never;
  fiber scheduler_;
  const std::function<void()>* body_ = nullptr;
  unsigned running_ = none;
  std::size_t finished_ = 0;
  std::uint32_t runnable_warps_ = 0;
  std::vector<background_work> outstanding_;
  std::uint64_t last_number_ = 0;
  std::string fault_;
};

struct emulated_index {
  unsigned x;
};

}  // namespace seqmix_test

// Of the thread whose turn it is.
inline seqmix_test::emulated_index threadIdx{0};
inline seqmix_test::emulated_index blockIdx{0};
inline seqmix_test::emulated_index gridDim{1};

inline void seqmix_test::emulated_block::resume(unsigned t) {
  running_ = t;
  threadIdx.x = t;
  switch_fibers(scheduler_, threads_[t].runs);
  running_ = none;
}
