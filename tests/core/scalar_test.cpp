// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/scalar.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

namespace {

/// A small binary floating-point format, spelled out from IEEE 754 in double arithmetic.
struct format {
  int exponent_bits;
  int mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  std::uint32_t infinity() const { return ((1u << exponent_bits) - 1u) << mantissa_bits; }

  /// The value of a pattern without its sign; infinity's pattern gets the value that the next
  /// finite number would have, which is what rounding compares with.
  double magnitude(std::uint32_t pattern) const {
    const int exponent = static_cast<int>(pattern >> mantissa_bits);
    const double fraction = static_cast<double>(pattern & ((1u << mantissa_bits) - 1u));
    const double one = std::ldexp(1.0, mantissa_bits);
    return exponent == 0 ? std::ldexp(fraction, 1 - bias() - mantissa_bits)
                         : std::ldexp(one + fraction, exponent - bias() - mantissa_bits);
  }

  /// The pattern nearest to a finite or infinite x, ties to the even pattern, by bisection.
  std::uint16_t nearest(double x) const {
    const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000u : 0u);
    const double m = std::fabs(x);
    std::uint32_t low = 0;
    std::uint32_t high = infinity();
    if (m >= magnitude(high)) {
      return static_cast<std::uint16_t>(sign | high);
    }
    while (high - low > 1) {
      const std::uint32_t middle = (low + high) / 2;
      (magnitude(middle) <= m ? low : high) = middle;
    }
    const double below = m - magnitude(low);
    const double above = magnitude(high) - m;
    const bool up = above < below || (above == below && (high & 1u) == 0);
    return static_cast<std::uint16_t>(sign | (up ? high : low));
  }
};

constexpr format half_format{5, 10};
constexpr format bfloat_format{8, 7};

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

template <class T>
int wrong_decodings(const format& f) {
  int wrong = 0;
  for (std::uint32_t i = 0; i < 0x10000u; ++i) {
    T x;
    x.bits = static_cast<std::uint16_t>(i);
    const float got = static_cast<float>(x);
    const std::uint32_t pattern = i & 0x7fffu;
    if (pattern > f.infinity()) {
      wrong += !std::isnan(got) || std::signbit(got) != ((i & 0x8000u) != 0);
      continue;
    }
    double want =
        pattern == f.infinity() ? std::numeric_limits<double>::infinity() : f.magnitude(pattern);
    want = (i & 0x8000u) != 0 ? -want : want;
    wrong += bits_of(got) != bits_of(static_cast<float>(want));
  }
  return wrong;
}

/// Each pattern survives the way to float and back; NaN stays a NaN of its sign and is quiet.
template <class T>
int wrong_round_trips(const format& f) {
  const std::uint32_t quiet = 1u << (f.mantissa_bits - 1);
  int wrong = 0;
  for (std::uint32_t i = 0; i < 0x10000u; ++i) {
    T x;
    x.bits = static_cast<std::uint16_t>(i);
    const T back(static_cast<float>(x));
    const bool nan = (i & 0x7fffu) > f.infinity();
    wrong += back.bits != (nan ? (i | quiet) : i);
  }
  return wrong;
}

/// Every midpoint between neighbours, infinity's included, and the floats beside it.
template <class T>
int wrong_roundings(const format& f) {
  int wrong = 0;
  const auto check = [&](float x) {
    wrong += T(x).bits != f.nearest(x);
    wrong += T(-x).bits != f.nearest(-x);
  };
  for (std::uint32_t i = 0; i < f.infinity(); ++i) {
    const auto middle = static_cast<float>((f.magnitude(i) + f.magnitude(i + 1)) / 2);
    check(middle);
    check(std::nextafter(middle, 0.0f));
    check(std::nextafter(middle, std::numeric_limits<float>::infinity()));
  }
  return wrong;
}

template <class T>
int wrong_at_random(const format& f, int count) {
  std::mt19937 random(11);
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(x)) {
      wrong += !std::isnan(static_cast<float>(T(x)));
    } else {
      wrong += T(x).bits != f.nearest(x);
    }
  }
  return wrong;
}

/// NaNs whose payload lies only in the bits that are cut off must not become infinities.
template <class T>
int lost_nans() {
  int lost = 0;
  for (std::uint32_t payload = 1; payload < 0x800000u; payload <<= 1) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const T x(std::bit_cast<float>(sign | 0x7f800000u | payload));
      lost += !std::isnan(static_cast<float>(x));
      lost += (x.bits >> 15) != (sign >> 31);
    }
  }
  return lost;
}

}  // namespace

TEST_CASE("the reference agrees with well-known values") {
  CHECK(half_format.magnitude(0x3c00) == 1.0);
  CHECK(half_format.magnitude(0x7bff) == 65504.0);
  CHECK(half_format.magnitude(1) == 0x1p-24);
  CHECK(half_format.magnitude(half_format.infinity()) == 65536.0);
  CHECK(bfloat_format.magnitude(0x3f80) == 1.0);
  CHECK(half_format.nearest(1.0 + 0x1p-11) == 0x3c00);
  CHECK(half_format.nearest(1.0 + 0x3p-11) == 0x3c02);
}

TEST_CASE("f16: all 65536 patterns decode as IEEE binary16") {
  CHECK(wrong_decodings<seqmix::f16>(half_format) == 0);
}
TEST_CASE("f16: all 65536 patterns survive a round trip") {
  CHECK(wrong_round_trips<seqmix::f16>(half_format) == 0);
}
TEST_CASE("f16: rounding at and beside each midpoint, subnormals and overflow included") {
  CHECK(wrong_roundings<seqmix::f16>(half_format) == 0);
}
TEST_CASE("f16: rounding of random floats") {
  CHECK(wrong_at_random<seqmix::f16>(half_format, 1000000) == 0);
}

TEST_CASE("bf16: all 65536 patterns decode as the upper half of a float") {
  CHECK(wrong_decodings<seqmix::bf16>(bfloat_format) == 0);
}
TEST_CASE("bf16: all 65536 patterns survive a round trip") {
  CHECK(wrong_round_trips<seqmix::bf16>(bfloat_format) == 0);
}
TEST_CASE("bf16: rounding at and beside each midpoint") {
  CHECK(wrong_roundings<seqmix::bf16>(bfloat_format) == 0);
}
TEST_CASE("bf16: rounding of random floats") {
  CHECK(wrong_at_random<seqmix::bf16>(bfloat_format, 1000000) == 0);
}

TEST_CASE("a NaN never becomes an infinity") {
  CHECK(lost_nans<seqmix::f16>() == 0);
  CHECK(lost_nans<seqmix::bf16>() == 0);
}

TEST_CASE("f16: the corners by hand") {
  using seqmix::f16;
  CHECK(f16(0.0f).bits == 0x0000);
  CHECK(f16(-0.0f).bits == 0x8000);
  CHECK(f16(65504.0f).bits == 0x7bff);
  CHECK(f16(65519.996f).bits == 0x7bff);
  CHECK(f16(65520.0f).bits == 0x7c00);
  CHECK(f16(-65520.0f).bits == 0xfc00);
  CHECK(f16(1e30f).bits == 0x7c00);
  CHECK(f16(std::numeric_limits<float>::infinity()).bits == 0x7c00);
  CHECK(f16(0x1p-24f).bits == 0x0001);
  CHECK(f16(0x1p-25f).bits == 0x0000);  // a tie, to even
  CHECK(f16(0x3p-25f).bits == 0x0002);  // a tie, to even
  CHECK(f16(0x1.8p-25f).bits == 0x0001);
  CHECK(f16(0x1.ffcp-15f).bits == 0x0400);  // the largest subnormal rounds up to a normal
  CHECK(f16(0x1p-149f).bits == 0x0000);
}

TEST_CASE("bf16: the corners by hand") {
  using seqmix::bf16;
  CHECK(bf16(-0.0f).bits == 0x8000);
  CHECK(bf16(1.0f).bits == 0x3f80);
  CHECK(bf16(0x1.01p0f).bits == 0x3f80);  // a tie, to even
  CHECK(bf16(0x1.03p0f).bits == 0x3f82);  // a tie, to even
  CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(bf16(0x1p-133f).bits == 0x0001);
}

TEST_CASE("conversions are constant expressions") {
  static_assert(seqmix::f16(1.5f).bits == 0x3e00);
  static_assert(seqmix::bf16(1.5f).bits == 0x3fc0);
  static_assert(static_cast<float>(seqmix::f16(0x1p-20f)) == 0x1p-20f);
  static_assert(!std::is_convertible_v<float, seqmix::f16>);
  static_assert(!std::is_convertible_v<seqmix::bf16, float>);
  SUCCEED();
}

TEST_CASE("a default-constructed scalar is positive zero") {
  seqmix::f16 plain;
  CHECK(plain.bits == 0);
  CHECK(bits_of(static_cast<float>(seqmix::f16{})) == 0);
  CHECK(bits_of(static_cast<float>(seqmix::bf16{})) == 0);
}

TEST_CASE("tags, sizes and names of the element types") {
  using seqmix::scalar_type;
  using seqmix::scalar_type_of;
  CHECK(scalar_type_of<float> == scalar_type::f32);
  CHECK(scalar_type_of<const double> == scalar_type::f64);
  CHECK(scalar_type_of<const seqmix::f16> == scalar_type::f16);
  CHECK(scalar_type_of<seqmix::bf16> == scalar_type::bf16);
  CHECK(scalar_type_of<int> == scalar_type::i32);
  CHECK(scalar_type_of<long long> == scalar_type::i64);
  CHECK(scalar_type_of<std::int64_t> == scalar_type::i64);
  CHECK(scalar_type_of<const std::int8_t> == scalar_type::i8);
  CHECK(scalar_type_of<std::uint8_t> == scalar_type::none);
  CHECK(scalar_type_of<unsigned> == scalar_type::none);
  CHECK(scalar_type_of<short> == scalar_type::none);
  CHECK(scalar_type_of<long double> == scalar_type::none);
  CHECK(scalar_type_of<float*> == scalar_type::none);

  static_assert(seqmix::real_scalar<const seqmix::bf16> && !seqmix::real_scalar<const int>);
  const struct {
    scalar_type type;
    std::size_t bytes;
    std::string name;
  } rows[] = {{scalar_type::none, 0, "none"}, {scalar_type::f32, 4, "f32"},
              {scalar_type::f64, 8, "f64"},   {scalar_type::f16, 2, "f16"},
              {scalar_type::bf16, 2, "bf16"}, {scalar_type::i32, 4, "i32"},
              {scalar_type::i64, 8, "i64"},   {scalar_type::i8, 1, "i8"}};
  for (const auto& row : rows) {
    CHECK(seqmix::size_of(row.type) == row.bytes);
    CHECK(seqmix::name(row.type) == row.name);
  }
}
