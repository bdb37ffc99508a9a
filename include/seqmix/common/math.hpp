// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <seqmix/simd/tanh.hpp>

// Functions for score functors, on a CPU and on a GPU. On a CPU they are arithmetic and selections,
// without branches and calls, of which compilers make vector code where a loop calls them; those of
// the standard library are a call for each number. On a GPU they are the instructions of its
// special function unit, without what would handle subnormal numbers around them.
//
// NaN stays NaN. Subnormal numbers may pass for zeros, and results near them be zeros.

SEQMIX_BEGIN_NAMESPACE

namespace math {

namespace detail {

#if defined(__CUDA_ARCH__)
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
/// Highest powers first. No loop, in which compilers would not look for vector code.
template <std::size_t N>
SEQMIX_ALWAYS_INLINE float polynomial(const float (&terms)[N], float x) noexcept {
  float sum = terms[0];
  simd::unroll<static_cast<int>(N) - 1>(
      [&](auto i) __attribute__((always_inline)) { sum = sum * x + terms[i + 1]; });
  return sum;
}

SEQMIX_ALWAYS_INLINE constexpr std::int32_t bits_of(float x) noexcept {
  return std::bit_cast<std::int32_t>(x);
}
inline constexpr float infinity = std::numeric_limits<float>::infinity();

// By bits, and by masks: a comparison of floats may trap, and so may arithmetic that only one side
// of a selection needs; of neither does g++ make vector code.

SEQMIX_ALWAYS_INLINE float select(bool first, float a, float b) noexcept {
  const std::int32_t mask = -static_cast<std::int32_t>(first);
  return std::bit_cast<float>((bits_of(a) & mask) | (bits_of(b) & ~mask));
}
/// A number held between -below and above; NaN stays.
SEQMIX_ALWAYS_INLINE float limit(float below, float x, float above) noexcept {
  constexpr std::int32_t sign_bit = std::numeric_limits<std::int32_t>::min();
  const std::int32_t sign = bits_of(x) & sign_bit;
  const std::int32_t size = bits_of(x) ^ sign;
  const std::int32_t most = sign != 0 ? bits_of(below) : bits_of(above);
  const std::int32_t least = size < most ? size : most;
  return std::bit_cast<float>(sign | (size > bits_of(infinity) ? size : least));
}

/// Half of 2^n: zero for n = -126, infinity for n = 129. `shifted` is n + exp2_constants::rounder,
/// whose last bits n is.
SEQMIX_ALWAYS_INLINE float half_power(float shifted) noexcept {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 126u) << 23);
}
#endif

inline constexpr float log2e = 1.44269504088896f;

}  // namespace detail

/// 2^x, to 6e-7 of it.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float exp2(float x) noexcept {
#if defined(__CUDA_ARCH__)
  return detail::power_of_two(x);
#else
  using constants = simd::detail::exp2_constants<float>;
  const float limited = detail::limit(126.0f, x, 129.0f);
  const float shifted = limited + constants::rounder;
  const float rest = limited - (shifted - constants::rounder);
  return 2 * detail::polynomial(constants::polynomial, rest) * detail::half_power(shifted);
#endif
}

/// e^x, to 2e-7 of it; on a GPU to 3e-7 + 1e-7 |x|.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float exp(float x) noexcept {
#if defined(__CUDA_ARCH__)
  return detail::power_of_two(x * detail::log2e);
#else
  using constants = simd::detail::exp_constants<float>;
  constexpr float rounder = simd::detail::exp2_constants<float>::rounder;
  const float limited = detail::limit(-constants::least, x, constants::largest);
  const float shifted = limited * constants::log2_e + rounder;
  const float n = shifted - rounder;
  const float rest = limited - n * constants::ln2_high - n * constants::ln2_low;
  // The polynomial is 2 (e^rest - 1) / rest.
  const float twice = rest * detail::polynomial(constants::slope, rest) + 2;
  return twice * detail::half_power(shifted);
#endif
}

/// The natural logarithm, to 2e-7 of it: minus infinity of 0, NaN of what is below.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float log(float x) noexcept {
#if defined(__CUDA_ARCH__)
  return ::logf(x);
#else
  using constants = simd::detail::exp_constants<float>;
  constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::int32_t two_thirds = detail::bits_of(2.0f / 3);
  constexpr std::int32_t least = detail::bits_of(std::numeric_limits<float>::min());
  const std::int32_t bits = detail::bits_of(x);
  // x = 2^n (1 + f), f from -1/3 to 1/3.
  const std::int32_t n =
      static_cast<std::int32_t>(static_cast<std::uint32_t>(bits) - two_thirds) >> 23;
  const float f = std::bit_cast<float>(static_cast<std::uint32_t>(bits) -
                                       (static_cast<std::uint32_t>(n) << 23)) -
                  1;
  const auto power = static_cast<float>(n);
  const float low = f * f * detail::polynomial(simd::detail::log_polynomial, f);
  const float y = (low + power * constants::ln2_low) + f + power * constants::ln2_high;
  const bool zero = bits == detail::bits_of(-0.0f) || bits >= 0;
  const float small = detail::select(zero, -detail::infinity, quiet_nan);
  const float number = detail::select(bits < least, small, y);
  return detail::select(bits >= detail::bits_of(detail::infinity), x, number);
#endif
}

/// 1 / (1 + e^-x), to 4e-7 of it.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float sigmoid(float x) noexcept {
#if defined(__CUDA_ARCH__)
  return detail::reciprocal(1 + detail::power_of_two(-detail::log2e * x));
#else
  return 1 / (1 + exp(-x));
#endif
}

/// tanh x, to 4e-7 of it; on a GPU with an error of up to 2e-7, however small tanh x is.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float tanh(float x) noexcept {
#if defined(__CUDA_ARCH__)
  return 1 - 2 * detail::reciprocal(1 + detail::power_of_two(2 * detail::log2e * x));
#else
  using constants = simd::detail::tanh_constants;
  const float limited = detail::limit(constants::limit, x, constants::limit);
  const float square = limited * limited;
  return limited * detail::polynomial(constants::p, square) /
         detail::polynomial(constants::q, square);
#endif
}

/// tanh x, to 5e-4 of it, by one instruction of a GPU; on a CPU `tanh`.
SEQMIX_HOST_DEVICE SEQMIX_ALWAYS_INLINE float fast_tanh(float x) noexcept {
#if defined(__CUDA_ARCH__)
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return tanh(x);
#endif
}

}  // namespace math

SEQMIX_END_NAMESPACE
