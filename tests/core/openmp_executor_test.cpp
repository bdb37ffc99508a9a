// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <cstdint>
#include <seqmix/openmp.hpp>

#include "support/catch.hpp"
#include "support/executor_checks.hpp"

TEST_CASE("openmp_executor keeps the promises", "[threads]") {
  for (const int threads : {1, 2, 3, 8}) {
    seqmix::openmp_executor e{threads};
    CHECK(e.concurrency() == threads);
    check_executor(e, 0);
    check_executor(e, 1);
    CHECK(check_executor(e, 1000) <= threads);
  }
}

TEST_CASE("openmp_executor's size", "[threads]") {
  CHECK(seqmix::openmp_executor{}.concurrency() == omp_get_max_threads());
  CHECK(seqmix::openmp_executor{0}.concurrency() == 1);
  CHECK(seqmix::openmp_executor{-4}.concurrency() == 1);
}

TEST_CASE("openmp_executor changes no global", "[threads]") {
  const int before = omp_get_max_threads();
  const int levels = omp_get_max_active_levels();
  seqmix::openmp_executor e{before + 2};
  check_executor(e, 50);
  CHECK(omp_get_max_threads() == before);
  CHECK(omp_get_max_active_levels() == levels);
}

TEST_CASE("openmp_executor inside a parallel region of the user", "[threads]") {
#pragma omp parallel num_threads(2)
  {
    const seqmix::openmp_executor e{3};
    std::int64_t sum = 0;
    const auto task = [&](std::int64_t i, int worker) {
#pragma omp atomic
      sum += worker >= 0 && worker < 3 ? i : 1000;
    };
    e.run(10, task);
#pragma omp critical
    CHECK(sum == 45);
  }
}
