// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no matching (function|constructor))
#include <seqmix/core/tensor_view.hpp>

void call(float* p) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const seqmix::tensor_view<float, 4> v{p, {1, 2, 3, 4}};
#else
  const seqmix::tensor_view<float, 4> v{p, {1, 2, 3}};
#endif
  static_cast<void>(v);
}
