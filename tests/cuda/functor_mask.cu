// SPDX-License-Identifier: Apache-2.0
#include "functor_calls.cuh"

namespace seqmix_test {

void run_masked(attention_problem& p, const test_mask& mask, const seqmix::context* ctx) {
  run_with<seqmix::f16>(p, ctx, mask);
}

}  // namespace seqmix_test
