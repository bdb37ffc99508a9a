// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <seqmix/core/config.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

/// A borrowed callable `f(index, worker)`: what an executor is asked to run. It does not throw.
class task_ref {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, task_ref> &&
             std::invocable<F&, std::int64_t, int>)
  constexpr task_ref(F& f) noexcept
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, std::int64_t index, int worker) {
          (*static_cast<F*>(object))(index, worker);
        }) {}

  void operator()(std::int64_t index, int worker) const { call_(object_, index, worker); }

 private:
  void* object_;
  void (*call_)(void*, std::int64_t, int);
};

/// What a user's thread pool must offer. `run(n, f)` calls `f(index, worker)` once for each index
/// in [0, n) and returns when all calls have returned; `worker` is in [0, concurrency()), and no
/// two calls that overlap in time share it.
template <class E>
concept executor = requires(E& e, std::int64_t n, task_ref f) {
  { e.concurrency() } -> std::convertible_to<int>;
  e.run(n, f);
};

/// Runs everything on the calling thread.
struct inline_executor {
  static constexpr int concurrency() noexcept { return 1; }
  static void run(std::int64_t n, task_ref f) {
    for (std::int64_t index = 0; index < n; ++index) {
      f(index, 0);
    }
  }
};

/// A borrowed executor: two function pointers and the object, which must outlive the call. The
/// default is the inline executor: seqmix never creates a thread.
class executor_ref {
 public:
  executor_ref() noexcept
      : concurrency_([](void*) { return inline_executor::concurrency(); }),
        run_([](void*, std::int64_t n, task_ref f) { inline_executor::run(n, f); }) {}

  template <class E>
    requires(!std::same_as<std::remove_const_t<E>, executor_ref> && executor<E>)
  executor_ref(E& e) noexcept
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(e)))),
        concurrency_(
            [](void* object) { return static_cast<int>(static_cast<E*>(object)->concurrency()); }),
        run_([](void* object, std::int64_t n, task_ref f) { static_cast<E*>(object)->run(n, f); }) {
  }

  /// A temporary would be gone before the call.
  template <class E>
    requires(!std::same_as<std::remove_cvref_t<E>, executor_ref> && executor<E>)
  executor_ref(const E&& e) = delete;

  int concurrency() const { return concurrency_(object_); }
  void run(std::int64_t n, task_ref f) const { run_(object_, n, f); }

 private:
  void* object_ = nullptr;
  int (*concurrency_)(void*);
  void (*run_)(void*, std::int64_t, task_ref);
};

SEQMIX_END_NAMESPACE
