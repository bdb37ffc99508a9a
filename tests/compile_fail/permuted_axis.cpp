// SPDX-License-Identifier: Apache-2.0
// expect: no matching (member )?function
#include <seqmix/core/tensor_view.hpp>

auto call(const seqmix::tensor_view<const float, 3>& v) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  return v.permuted<2, 0, 1>();
#else
  return v.permuted<3, 0, 1>();
#endif
}
