// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/round_up.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

// Tasks are numbered by sequence, and within one by key-value head and rows.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The sequence that a task belongs to. `task_begin` [sequences + 1] has the first task of each.
SEQMIX_ALWAYS_INLINE std::int64_t sequence_of_task(const std::int64_t* task_begin,
                                                   std::int64_t sequences,
                                                   std::int64_t task) noexcept {
  std::int64_t low = 0;
  for (std::int64_t high = sequences; high - low > 1;) {
    const std::int64_t middle = (low + high) / 2;
    (task_begin[middle] <= task ? low : high) = middle;
  }
  return low;
}

/// How many query rows a task may have.
struct task_limits {
  std::int64_t strip;  // a task has a multiple of this
  std::int64_t least;  // strips
  std::int64_t most;   // rows, where keys and values have 256 dimensions together
};

/// Query rows of a task, of sequences that have up to `longest`: enough tasks for the workers, but
/// as many rows in each as keep packing cheap. Strips are anchored at the sequence's first row, so
/// that this choice moves no bits.
SEQMIX_ALWAYS_INLINE std::int64_t rows_per_task(const softmax_attention_problem& p,
                                                std::int64_t longest, int workers,
                                                task_limits limits) noexcept {
  const std::int64_t dims = p.key_dim() + p.value_dim();
  const std::int64_t most =
      round_up(dims <= 256 ? limits.most : limits.most * 256 / dims, limits.strip);
  const std::int64_t few = limits.least * limits.strip;
  const std::int64_t least = few < most ? few : most;
  const std::int64_t heads = p.sequences * p.kv_heads();
  const std::int64_t wanted = workers == 1 ? 1 : 4 * workers;  // tasks
  const std::int64_t chunks = heads == 0 ? 1 : (wanted + heads - 1) / heads;
  const std::int64_t even = round_up((longest + chunks - 1) / chunks, limits.strip);
  return even > most ? most : even < least ? least : even;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
