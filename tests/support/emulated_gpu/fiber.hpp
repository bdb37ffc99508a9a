// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ucontext.h>

#include <cstddef>

// The sanitizers have to know of every change of stacks; g++ says so by macros, clang by a
// question.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SEQMIX_TEST_ASKS_THE_SYSTEM
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEQMIX_TEST_ASKS_THE_SYSTEM
#endif

namespace seqmix_test {

/// What runs on a stack of its own until it lets something else run.
struct fiber {
  ucontext_t context;
  bool entered = false;
  void* place[5];  // __builtin_setjmp's

  void prepare(std::byte* stack, std::size_t bytes, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
};

/// Leaves `from` until something goes on there, and goes on in `to`.
[[gnu::noinline]] inline void switch_fibers(fiber& from, fiber& to) {
#if defined(SEQMIX_TEST_ASKS_THE_SYSTEM)
  swapcontext(&from.context, &to.context);
#else
  // swapcontext asks the system for the mask of signals, every time.
  from.entered = true;
  if (__builtin_setjmp(from.place) == 0) {
    if (!to.entered) {
      setcontext(&to.context);
    }
    __builtin_longjmp(to.place, 1);
  }
#endif
}

}  // namespace seqmix_test
