// SPDX-License-Identifier: Apache-2.0
#include "support/device_matrix.hpp"

using namespace seqmix_test;

TEST_CASE("softmax_attention on the GPU against the definition, f16", "[matrix]") {
  const attention_calls calls = device_calls_for<seqmix::f16>();
  check_matrix_device(calls);
  check_device_corners(calls);
}

TEST_CASE("softmax_attention on the GPU, every combination, f16", "[.full]") {
  check_matrix_device_full(device_calls_for<seqmix::f16>());
}
