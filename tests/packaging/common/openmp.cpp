// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdint>
#include <seqmix/openmp.hpp>

int main() {
  seqmix::openmp_executor team{2};
  seqmix::executor_ref executor{team};
  std::atomic<std::int64_t> sum{0};
  auto add = [&](std::int64_t index, int) { sum += index; };
  executor.run(10, add);
  return sum == 45 ? 0 : 1;
}
