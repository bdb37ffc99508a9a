// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/config.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// float to IEEE binary16, round to nearest even; overflow gives infinity, NaN stays a quiet NaN.
constexpr std::uint16_t f16_bits_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint32_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half = 0;
  if (magnitude >= 0x7f800000u) {
    half = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x1ffu) : 0x7c00u;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;  // 65520 and above round to infinity
  } else if (magnitude >= 0x38800000u) {
    const std::uint32_t rebiased = magnitude - 0x38000000u;
    half = (rebiased + 0x0fffu + ((rebiased >> 13) & 1u)) >> 13;
  } else {
    // Below 2^-14 the result is subnormal: adding 0.5 aligns its unit with float's last bit, and
    // the float addition does the rounding.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<std::uint32_t>(aligned) - std::bit_cast<std::uint32_t>(0.5f);
  }
  return static_cast<std::uint16_t>(sign | half);
}

constexpr float float_from_f16_bits(std::uint16_t half) noexcept {
  const std::uint32_t sign = (static_cast<std::uint32_t>(half) & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  if (magnitude >= 0x0400u) {  // normal
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  }
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(subnormal));
}

/// float to bfloat16, round to nearest even; NaN stays a quiet NaN.
constexpr std::uint16_t bf16_bits_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  }
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

constexpr float float_from_bf16_bits(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace detail

/// IEEE 754 binary16, a storage type: arithmetic is done in float.
struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  explicit constexpr f16(float value) noexcept : bits(detail::f16_bits_from_float(value)) {}
  explicit constexpr operator float() const noexcept { return detail::float_from_f16_bits(bits); }
};

/// bfloat16, the upper half of a float, a storage type: arithmetic is done in float.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit constexpr bf16(float value) noexcept : bits(detail::bf16_bits_from_float(value)) {}
  explicit constexpr operator float() const noexcept { return detail::float_from_bf16_bits(bits); }
};

static_assert(std::is_trivially_copyable_v<f16> && sizeof(f16) == 2);
static_assert(std::is_trivially_copyable_v<bf16> && sizeof(bf16) == 2);

/// An element type as a value, for descriptors and type-erased views.
enum class scalar_type : std::int32_t { none, f32, f64, f16, bf16, i32, i64, i8 };

namespace detail {
template <class T>
constexpr scalar_type tag_of() noexcept {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>) {
    return scalar_type::f32;
  } else if constexpr (std::is_same_v<U, double>) {
    return scalar_type::f64;
  } else if constexpr (std::is_same_v<U, f16>) {
    return scalar_type::f16;
  } else if constexpr (std::is_same_v<U, bf16>) {
    return scalar_type::bf16;
  } else if constexpr (std::is_integral_v<U> && std::is_signed_v<U> && sizeof(U) == 4) {
    return scalar_type::i32;
  } else if constexpr (std::is_integral_v<U> && std::is_signed_v<U> && sizeof(U) == 8) {
    return scalar_type::i64;
  } else if constexpr (std::is_same_v<U, std::int8_t>) {
    return scalar_type::i8;
  } else {
    return scalar_type::none;
  }
}
}  // namespace detail

/// The tag of T; `none` when seqmix has no such element type.
template <class T>
inline constexpr scalar_type scalar_type_of = detail::tag_of<T>();

/// A type that a tensor of an operator may hold.
template <class T>
concept scalar = scalar_type_of<T> != scalar_type::none;

/// A floating-point element type: float, double, f16 or bf16.
template <class T>
concept real_scalar = scalar<T> && !std::integral<std::remove_cv_t<T>>;

constexpr bool is_integral(scalar_type type) noexcept {
  return type == scalar_type::i32 || type == scalar_type::i64 || type == scalar_type::i8;
}

constexpr std::size_t size_of(scalar_type type) noexcept {
  switch (type) {
    case scalar_type::f32:
    case scalar_type::i32:
      return 4;
    case scalar_type::f64:
    case scalar_type::i64:
      return 8;
    case scalar_type::f16:
    case scalar_type::bf16:
      return 2;
    case scalar_type::i8:
      return 1;
    case scalar_type::none:
      break;
  }
  return 0;
}

constexpr const char* name(scalar_type type) noexcept {
  switch (type) {
    case scalar_type::f32:
      return "f32";
    case scalar_type::f64:
      return "f64";
    case scalar_type::f16:
      return "f16";
    case scalar_type::bf16:
      return "bf16";
    case scalar_type::i32:
      return "i32";
    case scalar_type::i64:
      return "i64";
    case scalar_type::i8:
      return "i8";
    case scalar_type::none:
      break;
  }
  return "none";
}

SEQMIX_END_NAMESPACE
