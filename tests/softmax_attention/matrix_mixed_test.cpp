// SPDX-License-Identifier: Apache-2.0
#include "support/attention_matrix.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

TEST_CASE("softmax_attention with a type for each tensor",
          "[softmax_attention][matrix][threads-as-f32]") {
  for (const attention_calls& calls :
       {calls_for<float, bf16, bf16, float>(), calls_for<float, f16, f16, float>(),
        calls_for<bf16, bf16, bf16, float>(), calls_for<f16, float, bf16, double>()}) {
    check_matrix_pairwise(calls);
  }
}

TEST_CASE("softmax_attention with a type for each tensor, every combination",
          "[.full][threads-as-f32]") {
  check_matrix_full(calls_for<float, bf16, bf16, float>());
}
