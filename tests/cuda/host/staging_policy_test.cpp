// SPDX-License-Identifier: Apache-2.0
#include <seqmix/cuda/softmax_attention/staging_policy.hpp>

#include "support/catch.hpp"

// The decision whether host tensors are worth a trip, as arithmetic on constants.

using namespace seqmix::cuda;

namespace {

constexpr staging_constants constants{.pageable_bytes_per_second = 10e9,
                                      .pinned_bytes_per_second = 50e9,
                                      .operations_per_second = 100e12,
                                      .fixed_seconds = 1e-4,
                                      .context_seconds = 1,
                                      .cpu_operations_per_second = 50e9};

}  // namespace

TEST_CASE("small problems stay, whatever the constants say", "[staging_policy]") {
  staging_constants eager = constants;
  eager.cpu_operations_per_second = 1;
  CHECK_FALSE(worth_staging(
      eager, {.operations = 0.99 * least_staged_operations, .bytes = 1, .has_context = true}));
  CHECK(worth_staging(eager,
                      {.operations = least_staged_operations, .bytes = 1, .has_context = true}));
}

TEST_CASE("the GPU has to win with copies and context counted", "[staging_policy]") {
  // 10 GFLOP: 200 ms on one thread of the CPU.
  const staging_work work{.operations = 10e9, .bytes = 100e6, .has_context = true};
  CHECK(worth_staging(constants, work));
  staging_work cold = work;
  cold.has_context = false;  // a second more
  CHECK_FALSE(worth_staging(constants, cold));
  cold.operations = 100e9;
  CHECK(worth_staging(constants, cold));

  staging_work heavy = work;
  heavy.bytes = 5e9;  // 500 ms from pageable memory, 100 ms from pinned
  CHECK_FALSE(worth_staging(constants, heavy));
  heavy.pinned = true;
  CHECK(worth_staging(constants, heavy));

  staging_work threads = work;
  threads.threads = 40;  // 5 ms; the copies take 10
  CHECK_FALSE(worth_staging(constants, threads));
}

TEST_CASE("the table is by the GPU's name, and can be replaced", "[staging_policy]") {
  const staging_constants known = staging_constants_for("NVIDIA H200");
  CHECK(known.gpu == "NVIDIA H200");
  CHECK(staging_constants_for("NVIDIA H200 NVL").gpu == "NVIDIA H200");
  const staging_constants unknown = staging_constants_for("some other GPU");
  CHECK(unknown.gpu.empty());
  CHECK(unknown.operations_per_second < known.operations_per_second);

  set_staging_constants(constants);
  CHECK(staging_constants_for("NVIDIA H200").context_seconds == 1);
  CHECK(staging_constants_for("some other GPU").fixed_seconds == 1e-4);
  reset_staging_constants();
  CHECK(staging_constants_for("NVIDIA H200").context_seconds == known.context_seconds);
}
