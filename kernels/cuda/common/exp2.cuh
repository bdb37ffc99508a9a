// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ptx.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// 2^x for x up to 126 on the pipes of multiplications and additions, which have room where the
/// exponential's own has none: a minimax polynomial on [-1/2, 1/2], relative error 7.5e-5. Below
/// 2^-126 zero; NaN stays.
__device__ __forceinline__ float exp2_polynomial(float x) {
  // In the sum's last bits stands the rounded exponent, biased: shifted, they are its power of two.
  constexpr float rounder = 12582912.0f + 127.0f;
  float limited;
  asm("max.NaN.f32 %0, %1, %2;\n" : "=f"(limited) : "f"(x), "f"(-127.0f));
  const float rounded = limited + rounder;
  const float r = limited - (rounded - rounder);
  const float power = __uint_as_float(__float_as_uint(rounded) << 23);
  float p = fmaf(0.05517166853f, r, 0.2426111251f);
  p = fmaf(p, r, 0.6932609677f);
  p = fmaf(p, r, 0.9999280572f);
  return p * power;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
