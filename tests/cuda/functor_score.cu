// SPDX-License-Identifier: Apache-2.0
#include "functor_calls.cuh"

namespace seqmix_test {

void run_scored(attention_problem& p, const seqmix::context* ctx) {
  run_with<seqmix::bf16>(p, ctx, test_score);
}

}  // namespace seqmix_test
