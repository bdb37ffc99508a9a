// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no viable conversion|cannot convert)
#include <seqmix/core/scalar.hpp>

// Storage types: a conversion that loses bits is spelled out.
seqmix::f16 call(float x) {
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  return seqmix::f16(x);
#else
  return x;
#endif
}
