// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/config.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace simd::detail {

// Spelled out by width: g++ 12 mishandles a vector_size that depends on a template parameter.
typedef std::int8_t i8x4 __attribute__((vector_size(4)));
typedef std::int8_t i8x8 __attribute__((vector_size(8)));
typedef std::int8_t i8x16 __attribute__((vector_size(16)));
typedef std::int16_t i16x4 __attribute__((vector_size(8)));
typedef std::int16_t i16x8 __attribute__((vector_size(16)));
typedef std::int16_t i16x16 __attribute__((vector_size(32)));
typedef std::uint16_t u16x4 __attribute__((vector_size(8)));
typedef std::uint16_t u16x8 __attribute__((vector_size(16)));
typedef std::uint16_t u16x16 __attribute__((vector_size(32)));
typedef std::uint32_t u32x4 __attribute__((vector_size(16)));
typedef std::uint32_t u32x8 __attribute__((vector_size(32)));
typedef std::uint32_t u32x16 __attribute__((vector_size(64)));

template <int Lanes>
using u16_words =
    std::conditional_t<Lanes == 4, u16x4, std::conditional_t<Lanes == 8, u16x8, u16x16>>;
template <int Lanes>
using u32_words =
    std::conditional_t<Lanes == 4, u32x4, std::conditional_t<Lanes == 8, u32x8, u32x16>>;

}  // namespace simd::detail

SEQMIX_END_NAMESPACE
