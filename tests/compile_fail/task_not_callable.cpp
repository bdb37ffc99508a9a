// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no (viable|known) conversion|no matching function|cannot convert)
#include <cstdint>
#include <seqmix/core/executor.hpp>

void call(const seqmix::executor_ref& e) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const auto task = [](std::int64_t, int) {};
#else
  const auto task = [](const char*) {};
#endif
  e.run(3, task);
}
