// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/arch.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// Stores a register to memory that it does not bring into the caches first, where the hardware
/// can; `p` is aligned to the register. Other threads see it after `stream_fence`.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void store_streaming(vec<C, Arch> x, C* p) noexcept {
#if defined(__SSE2__)
#if defined(__AVX512F__)
  if constexpr (sizeof(x) == 64) {
    if constexpr (std::is_same_v<C, float>) {
      return _mm512_stream_ps(p, x);
    } else {
      return _mm512_stream_pd(p, x);
    }
  } else
#endif
#if defined(__AVX__)
      if constexpr (sizeof(x) == 32) {
    if constexpr (std::is_same_v<C, float>) {
      return _mm256_stream_ps(p, x);
    } else {
      return _mm256_stream_pd(p, x);
    }
  } else
#endif
  {
    if constexpr (std::is_same_v<C, float>) {
      return _mm_stream_ps(p, x);
    } else {
      return _mm_stream_pd(p, x);
    }
  }
#else
  x.store_aligned(p);
#endif
}

SEQMIX_ALWAYS_INLINE void stream_fence() noexcept {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace simd

SEQMIX_END_NAMESPACE
