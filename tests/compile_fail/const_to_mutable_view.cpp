// SPDX-License-Identifier: Apache-2.0
// expect: (requested|no viable conversion|conversion from)
#include <seqmix/core/tensor_view.hpp>

void call(const seqmix::tensor_view<const float, 2>& v) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const seqmix::tensor_view<const float, 2> w = v;
#else
  const seqmix::tensor_view<float, 2> w = v;
#endif
  static_cast<void>(w);
}
