// SPDX-License-Identifier: Apache-2.0
#include "support/attention_matrix.hpp"

using namespace seqmix_test;

TEST_CASE("softmax_attention against the definition, f16",
          "[softmax_attention][matrix][threads-as-f32]") {
  const attention_calls calls = calls_for<seqmix::f16>();
  check_matrix_pairwise(calls, {1, 2});
  check_matrix_corners(calls);
}

TEST_CASE("softmax_attention, every combination, f16", "[.full][threads-as-f32]") {
  check_matrix_full(calls_for<seqmix::f16>());
}
