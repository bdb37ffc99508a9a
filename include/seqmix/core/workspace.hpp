// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <seqmix/core/config.hpp>
#include <span>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

/// Every block that a kernel takes from its scratch starts on a multiple of this.
inline constexpr std::size_t scratch_alignment = 64;

namespace detail {

constexpr std::size_t round_up_bytes(std::size_t n) noexcept {
  return (n + scratch_alignment - 1) / scratch_alignment * scratch_alignment;
}

/// Grow-only blocks of one thread, one for each operator call that is active on it. More than one
/// is: a pool may run a second call on a thread that waits for the first.
class thread_arena {
 public:
  static thread_arena& local() {
    thread_local thread_arena arena;
    return arena;
  }

  std::span<std::byte> acquire(std::size_t bytes) {
    if (depth_ == blocks_.size()) {
      blocks_.emplace_back();
    }
    block& b = blocks_[depth_];
    if (b.size < bytes) {
      b.memory.reset();
      b.size = 0;
      b.memory.reset(
          static_cast<std::byte*>(::operator new(bytes, std::align_val_t{scratch_alignment})));
      b.size = bytes;
    }
    ++depth_;
    return {b.memory.get(), bytes};
  }

  void release() noexcept { --depth_; }

  void clear() noexcept {
    if (depth_ == 0) {
      blocks_.clear();
    }
  }

 private:
  struct deleter {
    void operator()(std::byte* p) const noexcept {
      ::operator delete(p, std::align_val_t{scratch_alignment});
    }
  };
  struct block {
    std::unique_ptr<std::byte, deleter> memory;
    std::size_t size = 0;
  };

  std::vector<block> blocks_;
  std::size_t depth_ = 0;
};

/// The scratch of one call: the caller's span, or a block of the thread's arena.
class scratch_lease {
 public:
  scratch_lease(std::span<std::byte> user, std::size_t bytes) {
    if (bytes == 0) {
      return;
    }
    if (user.data() != nullptr) {
      const auto address = reinterpret_cast<std::uintptr_t>(user.data());
      memory_ = user.subspan((scratch_alignment - address % scratch_alignment) % scratch_alignment);
    } else {
      memory_ = thread_arena::local().acquire(bytes);
      leased_ = true;
    }
  }
  scratch_lease(const scratch_lease&) = delete;
  scratch_lease& operator=(const scratch_lease&) = delete;
  ~scratch_lease() {
    if (leased_) {
      thread_arena::local().release();
    }
  }

  std::byte* data() const noexcept { return memory_.data(); }

 private:
  std::span<std::byte> memory_{};
  bool leased_ = false;
};

/// Lays blocks out one behind another. With a null base it only counts, so that one function both
/// sizes and hands out a kernel's scratch.
class scratch_layout {
 public:
  explicit constexpr scratch_layout(std::byte* base = nullptr) noexcept : base_(base) {}

  template <class T>
  T* take(std::int64_t count) noexcept {
    std::byte* p = base_ == nullptr ? nullptr : base_ + used_;
    used_ += round_up_bytes(static_cast<std::size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(p);
  }
  constexpr std::size_t bytes() const noexcept { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

/// What a compiled back-end keeps for each thread, and how the calling thread's share is freed.
struct release_hook {
  void (*release)() noexcept;
  release_hook* next = nullptr;
};

inline std::atomic<release_hook*>& release_hooks() noexcept {
  static constinit std::atomic<release_hook*> head{nullptr};
  return head;
}

/// Adds a hook that lives as long as the program; safe from any static initialiser.
inline void add_release_hook(release_hook& hook) noexcept {
  hook.next = release_hooks().load(std::memory_order_relaxed);
  while (!release_hooks().compare_exchange_weak(hook.next, &hook, std::memory_order_release,
                                                std::memory_order_relaxed)) {
  }
}

}  // namespace detail

/// Frees what the calling thread holds for scratch, device memory of back-ends included. It grows
/// again with the next call that needs some.
inline void release_thread_memory() noexcept {
  detail::thread_arena::local().clear();
  for (auto* hook = detail::release_hooks().load(std::memory_order_acquire); hook != nullptr;
       hook = hook->next) {
    hook->release();
  }
}

SEQMIX_END_NAMESPACE
