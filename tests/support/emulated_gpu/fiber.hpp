// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ucontext.h>

#include <cstddef>

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
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
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
