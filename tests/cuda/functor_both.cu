// SPDX-License-Identifier: Apache-2.0
#include "functor_calls.cuh"

namespace seqmix_test {

void run_scored_and_masked(attention_problem& p, const test_mask& mask,
                           const seqmix::context* ctx) {
  run_with<seqmix::bf16>(p, ctx, test_score, mask);
}

}  // namespace seqmix_test
