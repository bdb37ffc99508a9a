// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../common/ptx.cuh"
#include "softcap.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

// Each of these is the curve of a raw product less an offset, in powers of two, with one rounding
// in the end.

/// Of raw products up to `near`; minus infinity stays, if the last term is not zero.
struct near_cap {
  const softcap_curve& c;

  __device__ __forceinline__ float operator()(float x, float offset) const {
    const float square = x * x;
    return fmaf(x, fmaf(fmaf(c.terms[2], square, c.terms[1]), square, c.terms[0]), -offset);
  }
};

/// Of all: cap (1 - 2 / (1 + e^2u)). NaN stays.
struct far_cap {
  const softcap_curve& c;

  __device__ __forceinline__ float operator()(float x, float offset) const {
    return fmaf(-2 * c.cap, reciprocal_fast(1 + exp2_fast(x * c.steep)), c.cap - offset);
  }
};

/// Of all, in the way that suits the number.
struct any_cap {
  const softcap_curve& c;

  __device__ __forceinline__ float operator()(float x, float offset) const {
    return fabsf(x) <= c.near ? near_cap{c}(x, offset) : far_cap{c}(x, offset);
  }
};

/// The curve of raw products, for which `each(f)` calls `f(float& x, int column)`. What a number
/// becomes depends on it alone; what is computed on the way depends on the largest of the warp.
template <class Each>
__device__ __forceinline__ void cap_scores(const softcap_curve& c, Each&& each) {
  float chains[4] = {0, 0, 0, 0};  // one would be a chain of waits
  each([&](float& x, int column) {
    const int chain = column % 2 + column / 8 % 2 * 2;
    chains[chain] = fmaxf(chains[chain], fabsf(x));
  });
  const float most = fmaxf(fmaxf(chains[0], chains[1]), fmaxf(chains[2], chains[3]));
  if (!__any_sync(0xffffffffu, most > c.near)) {
    each([&](float& x, int) { x = near_cap{c}(x, 0); });
  } else {
    each([&](float& x, int) { x = any_cap{c}(x, 0); });
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
