// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../common/ptx.cuh"
#include "softcap.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// tanh with an error of 1e-6, and relative to small results of 1e-5, so that a wide cap changes
/// little; NaN stays.
__device__ __forceinline__ float tanh_fast(float x) {
  constexpr float twice_log2e = 2 * 1.44269504088896f;
  const float outer = 1 - 2 * reciprocal_fast(1 + exp2_fast(x * twice_log2e));
  return fabsf(x) < 0.0625f ? x * fmaf(x * x, -1.0f / 3, 1) : outer;
}

/// x times a polynomial of x^2. The last product is not to be fused with what comes after it in one
/// place and not in another: a number has one result.
template <int N>
__device__ __forceinline__ float odd_polynomial(const float (&terms)[N], float x) {
  const float square = x * x;
  float sum = terms[N - 1];
#pragma unroll
  for (int i = N - 2; i >= 0; --i) {
    sum = fmaf(sum, square, terms[i]);
  }
  return __fmul_rn(x, sum);
}

/// Caps raw products, for which `each(f)` calls `f(float& x, int column)`. What a number becomes
/// depends on it alone; what is computed on the way depends on the largest of the warp.
template <class Each>
__device__ __forceinline__ void cap_scores(const softcap_curve& c, Each&& each) {
  float most = 0;
  each([&](float& x, int) { most = fmaxf(most, fabsf(x)); });
  if (!__any_sync(0xffffffffu, most > c.near)) {
    each([&](float& x, int) { x = odd_polynomial(c.near_terms, x); });
  } else if (!__any_sync(0xffffffffu, most > c.middle)) {
    each([&](float& x, int) {
      const float middle = odd_polynomial(c.middle_terms, x);
      x = fabsf(x) <= c.near ? odd_polynomial(c.near_terms, x) : middle;
    });
  } else {
    each([&](float& x, int) {
      const float size = fabsf(x);
      const float outer = __fmul_rn(c.cap, tanh_fast(x * c.inner));
      const float middle = size <= c.middle ? odd_polynomial(c.middle_terms, x) : outer;
      x = size <= c.near ? odd_polynomial(c.near_terms, x) : middle;
    });
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
