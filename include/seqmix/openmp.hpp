// SPDX-License-Identifier: Apache-2.0
#pragma once

// Opt-in: link the CMake target seqmix::openmp, or compile with -fopenmp.
#if !defined(_OPENMP)
#error "seqmix/openmp.hpp needs OpenMP: link seqmix::openmp or compile with -fopenmp"
#endif

#include <omp.h>

#include <seqmix/core/executor.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Runs on an OpenMP team. The team's size is a clause of its own region: no global is touched.
class openmp_executor {
 public:
  /// `threads` workers; by default what OpenMP would use at the time of construction.
  explicit openmp_executor(int threads = omp_get_max_threads()) noexcept
      : threads_(threads < 1 ? 1 : threads) {}

  int concurrency() const noexcept { return threads_; }

  void run(std::int64_t n, task_ref f) const {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
    for (std::int64_t index = 0; index < n; ++index) {
      f(index, omp_get_thread_num());
    }
  }

 private:
  int threads_;
};

SEQMIX_END_NAMESPACE
