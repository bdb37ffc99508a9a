// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/scalar.hpp>
#include <seqmix/simd/arch.hpp>
#include <seqmix/simd/words.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd::detail {

/// `lanes` 16-bit words, each widened to 32 bits, as a register of floats to reinterpret.
template <class Arch>
struct half_words {
  using u16 = u16_words<lanes<float, Arch>>;
  using u32 = u32_words<lanes<float, Arch>>;

  static SEQMIX_ALWAYS_INLINE u32 load(const void* p) noexcept {
#if defined(__AVX2__)
    // g++ widens by halves that it puts together again.
    if constexpr (sizeof(u32) == 32) {
      return (u32)_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
#endif
#if defined(__AVX512F__)
    if constexpr (sizeof(u32) == 64) {
      return (u32)_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
#endif
    u16 words;
    __builtin_memcpy(&words, p, sizeof(words));
    return __builtin_convertvector(words, u32);
  }
  static SEQMIX_ALWAYS_INLINE vec<float, Arch> as_float(u32 bits) noexcept {
    vec<float, Arch> x;
    static_assert(sizeof(x) == sizeof(bits));
    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
  }
};

template <class Arch>
SEQMIX_ALWAYS_INLINE vec<float, Arch> load_half(const bf16* p) noexcept {
  using words = half_words<Arch>;
  return words::as_float(words::load(p) << 16);
}

template <class Arch>
SEQMIX_ALWAYS_INLINE vec<float, Arch> load_half(const f16* p) noexcept {
#if defined(__F16C__)
  if constexpr ((Arch::features & feature_f16c) != 0 && lanes<float, Arch> == 4) {
    return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr ((Arch::features & feature_f16c) != 0 && lanes<float, Arch> == 8) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#if defined(__AVX512F__)
  } else if constexpr (lanes<float, Arch> == 16) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
  } else
#endif
  {
    // A half shifted into float's place is the value times 2^-112, subnormals included.
    using words = half_words<Arch>;
    using V = vec<float, Arch>;
    const auto half = words::load(p);
    const V magnitude = words::as_float((half & 0x7fffu) << 13) * V(0x1p112f);
    typename words::u32 bits;
    __builtin_memcpy(&bits, &magnitude, sizeof(bits));
    // Infinity and NaN come out as 65536 and above: give them float's exponent.
    bits |= ((half & 0x7c00u) == 0x7c00u) & 0x7f800000u;
    return words::as_float(bits | ((half & 0x8000u) << 16));
  }
}

template <class Arch>
SEQMIX_ALWAYS_INLINE void store_words(typename half_words<Arch>::u32 words, void* p) noexcept {
  using u16 = typename half_words<Arch>::u16;
  const u16 narrowed = __builtin_convertvector(words, u16);
  __builtin_memcpy(p, &narrowed, sizeof(narrowed));
}

#if defined(__AVX512BW__)
/// The `store_half` below in half the operations.
SEQMIX_ALWAYS_INLINE void store_half_512(__m512 x, bf16* p) noexcept {
  const __m512i bits = _mm512_castps_si512(x);
  const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  __m512i rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  rounded = _mm512_mask_add_epi32(rounded, odd, rounded, _mm512_set1_epi32(1));
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  // The upper words of the lanes, 31 29 ... 1 from the highest down.
  const __m512i upper = _mm512_set_epi64(0, 0, 0, 0, 0x001f001d001b0019, 0x0017001500130011,
                                         0x000f000d000b0009, 0x0007000500030001);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, rounded)));
}
#endif

/// Rounds to nearest even, as the scalar conversion does, bit for bit.
template <class Arch>
SEQMIX_ALWAYS_INLINE void store_half(vec<float, Arch> x, bf16* p) noexcept {
#if defined(__AVX512BW__)
  if constexpr (lanes<float, Arch> == 16) {
    return store_half_512(x, p);
  }
#endif
  using u32 = typename half_words<Arch>::u32;
  u32 bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  // Signed: of unsigned ones x86 has no such comparison before AVX-512.
  using i32 = decltype(bits == bits);
  const u32 is_nan = (u32)((i32)(bits & 0x7fffffffu) > 0x7f800000);
  store_words<Arch>((is_nan & ((bits >> 16) | 0x40u)) | (~is_nan & rounded), p);
}

template <class Arch>
SEQMIX_ALWAYS_INLINE void store_half(vec<float, Arch> x, f16* p) noexcept {
#if defined(__F16C__)
  if constexpr ((Arch::features & feature_f16c) != 0 && lanes<float, Arch> == 4) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    return;
  } else if constexpr ((Arch::features & feature_f16c) != 0 && lanes<float, Arch> == 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    return;
#if defined(__AVX512F__)
  } else if constexpr (lanes<float, Arch> == 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    return;
#endif
  }
#endif
  alignas(64) float lane[lanes<float, Arch>];
  x.store_aligned(lane);
  for (int i = 0; i < lanes<float, Arch>; ++i) {
    p[i] = f16(lane[i]);
  }
}

}  // namespace simd::detail

SEQMIX_END_NAMESPACE
