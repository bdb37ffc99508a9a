// SPDX-License-Identifier: Apache-2.0
// expect: for call to .?.?.?[(]?(object of type .)?const [a-z0-9_:]+softmax_attention_fn
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#ifdef SEQMIX_COMPILE_FAIL_CONTROL
using element = float;
#else
using element = int;
#endif

void call(const element* x, const float* y, float* z) {
  const auto k = seqmix::view(y, 1, 2, 3, 4);
  seqmix::softmax_attention(seqmix::view(x, 1, 2, 3, 4), k, k, seqmix::view(z, 1, 2, 3, 4));
}
