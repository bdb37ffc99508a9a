// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <seqmix/core/executor.hpp>

/// Rows that one task takes through a chain of products: few enough to stay in the core's cache.
constexpr Eigen::Index block_rows = 128;

/// Calls f(first, rows) for each block of rows, in parallel.
template <class F>
void for_blocks(const seqmix::executor_ref& executor, Eigen::Index rows, const F& f) {
  auto task = [&](std::int64_t block, int) {
    const Eigen::Index first = block * block_rows;
    f(first, std::min(block_rows, rows - first));
  };
  executor.run((rows + block_rows - 1) / block_rows, task);
}
