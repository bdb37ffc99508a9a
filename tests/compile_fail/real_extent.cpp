// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no matching (function|constructor))
#include <seqmix/core/tensor_view.hpp>

void call(float* p) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const seqmix::tensor_view<float, 2> v{p, {2, 3}};
#else
  const seqmix::tensor_view<float, 2> v{p, {2, 3.5}};
#endif
  static_cast<void>(v);
}
