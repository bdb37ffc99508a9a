// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no viable conversion|conversion from)
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>

using numbers = seqmix::tensor_view<float, 3>;
void decay(seqmix::log_gate<numbers> gate);

void call(float* x) {
  const numbers view = seqmix::view(x, 1, 2, 3);
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  decay(seqmix::log_gate(view));
#else
  decay(seqmix::linear_gate(view));
#endif
}
