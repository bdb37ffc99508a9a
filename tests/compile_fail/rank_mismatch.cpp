// SPDX-License-Identifier: Apache-2.0
// expect: for call to .?.?.?[(]?(object of type .)?const [a-z0-9_:]+softmax_attention_fn
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

void call(float* x, float* y) {
  const auto q = seqmix::view(x, 1, 2, 3, 4);
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const auto k = seqmix::view(x, 1, 2, 3, 4);
#else
  const auto k = seqmix::view(x, 2, 3, 4);
#endif
  seqmix::softmax_attention(q, k, k, seqmix::view(y, 1, 2, 3, 4));
}
