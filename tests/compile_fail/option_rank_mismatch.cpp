// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no (viable|known) conversion|cannot convert|conversion from)
#include <seqmix/ops/softmax_attention/options.hpp>

void call(float* p) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const auto lse = seqmix::view(p, 1, 2, 3);
#else
  const auto lse = seqmix::view(p, 1, 2, 3, 4);
#endif
  const seqmix::softmax_attention_options options{.lse = lse};
  static_cast<void>(options);
}
