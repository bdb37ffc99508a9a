// SPDX-License-Identifier: Apache-2.0
// expect: deleted function|deleted constructor
#include <seqmix/core/context.hpp>

// The reference would outlive the executor.
void call() {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  seqmix::inline_executor here;
  const seqmix::context ctx{.executor = here};
#else
  const seqmix::context ctx{.executor = seqmix::inline_executor{}};
#endif
  static_cast<void>(ctx);
}
