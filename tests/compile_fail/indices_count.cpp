// SPDX-License-Identifier: Apache-2.0
// expect: (no match for call|no matching function)
#include <seqmix/core/tensor_view.hpp>

float call(const seqmix::tensor_view<const float, 3>& v) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  return v(0, 1, 2);
#else
  return v(0, 1);
#endif
}
