// SPDX-License-Identifier: Apache-2.0
// expect: for call to .?.?.?[(]?(object of type .)?const [a-z0-9_:]+gated_delta_rule_fn
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>

void call(float* x, float* y) {
  const auto q = seqmix::view(x, 1, 2, 3, 4);
  const auto numbers = seqmix::view(x, 1, 2, 3);
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const auto gate = seqmix::linear_gate(numbers);
#else
  const auto gate = seqmix::sigmoid_beta(numbers);
#endif
  seqmix::gated_delta_rule(q, q, q, gate, seqmix::sigmoid_beta(numbers),
                           seqmix::view(y, 1, 2, 3, 4));
}
