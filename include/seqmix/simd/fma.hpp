// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/arch.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// x y + z and z - x y, rounded once wherever the hardware can. xsimd 8 has no such operation for
/// AVX-512 and leaves it to the compiler whether a product and a sum become one: bits would then
/// depend on the code around them.
template <class C, class A>
SEQMIX_ALWAYS_INLINE xsimd::batch<C, A> fma(const xsimd::batch<C, A>& x,
                                            const xsimd::batch<C, A>& y,
                                            const xsimd::batch<C, A>& z) noexcept {
#if defined(__AVX512F__)
  if constexpr (sizeof(xsimd::batch<C, A>) == 64 && sizeof(C) == 4) {
    return _mm512_fmadd_ps(x, y, z);
  } else if constexpr (sizeof(xsimd::batch<C, A>) == 64) {
    return _mm512_fmadd_pd(x, y, z);
  } else
#endif
  {
    return xsimd::fma(x, y, z);
  }
}

template <class C, class A>
SEQMIX_ALWAYS_INLINE xsimd::batch<C, A> fnma(const xsimd::batch<C, A>& x,
                                             const xsimd::batch<C, A>& y,
                                             const xsimd::batch<C, A>& z) noexcept {
#if defined(__AVX512F__)
  if constexpr (sizeof(xsimd::batch<C, A>) == 64 && sizeof(C) == 4) {
    return _mm512_fnmadd_ps(x, y, z);
  } else if constexpr (sizeof(xsimd::batch<C, A>) == 64) {
    return _mm512_fnmadd_pd(x, y, z);
  } else
#endif
  {
    return xsimd::fnma(x, y, z);
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
