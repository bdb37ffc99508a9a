// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/load.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// Stores a register to aligned memory that no one reads soon: where the hardware can, without
/// fetching what lies there and past the caches. `finish_streams` comes before others may look.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void stream(vec<C, Arch> x, C* p) noexcept {
  [[maybe_unused]] constexpr std::size_t bytes = sizeof(vec<C, Arch>);
  [[maybe_unused]] constexpr bool is_float = std::is_same_v<C, float>;
#if defined(__AVX512F__)
  if constexpr (bytes == 64 && is_float) {
    return _mm512_stream_ps(p, x);
  } else if constexpr (bytes == 64) {
    return _mm512_stream_pd(p, x);
  }
#endif
#if defined(__AVX__)
  if constexpr (bytes == 32 && is_float) {
    return _mm256_stream_ps(p, x);
  } else if constexpr (bytes == 32) {
    return _mm256_stream_pd(p, x);
  }
#endif
#if defined(__SSE2__)
  if constexpr (bytes == 16 && is_float) {
    return _mm_stream_ps(p, x);
  } else if constexpr (bytes == 16) {
    return _mm_stream_pd(p, x);
  }
#endif
  x.store_aligned(p);
}

/// The same of a storage type: a register is half as long there, or a quarter.
template <class C, class Arch, class T>
  requires(!std::is_same_v<C, T>)
SEQMIX_ALWAYS_INLINE void stream(vec<C, Arch> x, T* p) noexcept {
  alignas(64) T lane[lanes<C, Arch>];
  store<C, Arch>(x, lane);
#if defined(__AVX__)
  if constexpr (sizeof(lane) == 32) {
    return _mm256_stream_si256(reinterpret_cast<__m256i*>(p),
                               _mm256_load_si256(reinterpret_cast<const __m256i*>(lane)));
  }
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(lane) == 16) {
    return _mm_stream_si128(reinterpret_cast<__m128i*>(p),
                            _mm_load_si128(reinterpret_cast<const __m128i*>(lane)));
  }
#endif
  __builtin_memcpy(p, lane, sizeof(lane));
}

SEQMIX_ALWAYS_INLINE void finish_streams() noexcept {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace simd

SEQMIX_END_NAMESPACE
