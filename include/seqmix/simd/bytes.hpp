// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/simd/arch.hpp>
#include <seqmix/simd/words.hpp>
#include <type_traits>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

namespace detail {

/// Where no instruction is named below. g++ 12 converts between bytes and words of 32 bits one by
/// one, but not by way of 16.
template <int Lanes>
struct byte_words {
  using bytes = std::conditional_t<Lanes == 4, i8x4, std::conditional_t<Lanes == 8, i8x8, i8x16>>;
  using halves =
      std::conditional_t<Lanes == 4, i16x4, std::conditional_t<Lanes == 8, i16x8, i16x16>>;
  using words = u32_words<Lanes>;

  static SEQMIX_ALWAYS_INLINE words load(const std::int8_t* p) noexcept {
    bytes b;
    __builtin_memcpy(&b, p, sizeof(b));
    return __builtin_convertvector(__builtin_convertvector(b, halves), words);
  }
  static SEQMIX_ALWAYS_INLINE void store(words w, std::int8_t* p) noexcept {
    const bytes b = __builtin_convertvector(__builtin_convertvector(w, halves), bytes);
    __builtin_memcpy(p, &b, sizeof(b));
  }
};

}  // namespace detail

/// A register of consecutive numbers of int8.
template <class Arch>
SEQMIX_ALWAYS_INLINE vec<float, Arch> load_bytes(const std::int8_t* p) noexcept {
#if defined(__AVX512F__)
  if constexpr (lanes<float, Arch> == 16) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  } else
#endif
#if defined(__AVX2__)
      if constexpr (lanes<float, Arch> == 8) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  } else
#endif
  {
    vec<std::int32_t, Arch> words;
    const auto w = detail::byte_words<lanes<float, Arch>>::load(p);
    __builtin_memcpy(&words, &w, sizeof(w));
    return xsimd::to_float(words);
  }
}

/// The lowest byte of each lane of `Count` registers, 1, 2 or 4, to consecutive memory.
template <int Count, class Arch>
SEQMIX_ALWAYS_INLINE void store_bytes(const vec<float, Arch> (&x)[Count], std::int8_t* p) noexcept {
  static_assert(Count == 1 || Count == 2 || Count == 4);
#if defined(__AVX512F__)
  if constexpr (lanes<float, Arch> == 16) {
    for (int i = 0; i < Count; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16 * i),
                       _mm512_cvtepi32_epi8(_mm512_castps_si512(x[i])));
    }
  } else
#endif
#if defined(__AVX2__)
      if constexpr (lanes<float, Arch> == 8) {
    const auto low = [&](int i) __attribute__((always_inline)) {
      return _mm256_and_si256(_mm256_castps_si256(x[i]), _mm256_set1_epi32(0xff));
    };
    const auto halves = [](__m256i w) __attribute__((always_inline)) {
      return std::pair{_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)};
    };
    if constexpr (Count == 4) {
      // Packs keep to halves of a register: what comes out has groups of 4 bytes in turn.
      const __m256i mixed = _mm256_packus_epi16(_mm256_packs_epi32(low(0), low(1)),
                                                _mm256_packs_epi32(low(2), low(3)));
      const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(mixed, order));
    } else if constexpr (Count == 2) {
      const auto [first, second] = halves(_mm256_packs_epi32(low(0), low(1)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                       _mm_shuffle_epi32(_mm_packus_epi16(first, second), 0xd8));
    } else {
      const auto [first, second] = halves(low(0));
      const __m128i words = _mm_packs_epi32(first, second);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
    }
  } else
#endif
#if defined(__SSE2__)
      if constexpr (lanes<float, Arch> == 4 && Count == 4) {
    const auto low = [&](int i) __attribute__((always_inline)) {
      return _mm_and_si128(_mm_castps_si128(x[i]), _mm_set1_epi32(0xff));
    };
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi16(_mm_packs_epi32(low(0), low(1)), _mm_packs_epi32(low(2), low(3))));
  } else
#endif
  {
    using words = detail::byte_words<lanes<float, Arch>>;
    for (int i = 0; i < Count; ++i) {
      typename words::words w;
      __builtin_memcpy(&w, &x[i], sizeof(w));
      words::store(w, p + i * lanes<float, Arch>);
    }
  }
}

}  // namespace simd

SEQMIX_END_NAMESPACE
