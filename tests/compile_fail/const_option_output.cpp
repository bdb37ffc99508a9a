// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no (viable|known) conversion|cannot convert|conversion from)
#include <seqmix/ops/softmax_attention/options.hpp>

void call(float* p) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const seqmix::tensor_view<float, 3> lse = seqmix::view(p, 1, 2, 3);
#else
  const seqmix::tensor_view<const float, 3> lse = seqmix::view(p, 1, 2, 3);
#endif
  const seqmix::softmax_attention_options options{.lse = lse};
  static_cast<void>(options);
}
