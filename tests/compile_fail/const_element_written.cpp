// SPDX-License-Identifier: Apache-2.0
// expect: (read-only|not assignable|const-qualified)
#include <seqmix/core/tensor_view.hpp>

void call(float* p) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  const seqmix::tensor_view<float, 2> v{p, {2, 3}};
#else
  const seqmix::tensor_view<const float, 2> v{p, {2, 3}};
#endif
  v(1, 2) = 0;
}
