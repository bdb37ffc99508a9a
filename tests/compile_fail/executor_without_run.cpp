// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no (viable|known) conversion|cannot convert|conversion from)
#include <cstdint>
#include <seqmix/core/context.hpp>

struct pool {
  int concurrency() const { return 4; }
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  void run(std::int64_t, seqmix::task_ref) {}
#endif
};

void call(pool& p) {
  const seqmix::context ctx{.executor = p};
  static_cast<void>(ctx);
}
