// SPDX-License-Identifier: Apache-2.0
#define CATCH_CONFIG_RUNNER
#include <cuda_runtime_api.h>

#include <cstdio>

#include "support/catch.hpp"
#include "support/cuda_checks.hpp"

// The tests that need a GPU. Exits with 77, which CTest takes as skipped, where there is none.
int main(int argc, char** argv) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device (%s)\n",
                status == cudaSuccess ? "none found" : cudaGetErrorString(status));
    return 77;
  }
  const int failed = Catch::Session().run(argc, argv);
  if (seqmix_test::cuda_cleanup_failures() != 0) {
    std::printf("%d CUDA calls failed in destructors\n", seqmix_test::cuda_cleanup_failures());
    return 1;
  }
  return failed == 0 ? 0 : 1;
}
