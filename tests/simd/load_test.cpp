// SPDX-License-Identifier: Apache-2.0
#include <seqmix/simd/load.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "support/catch.hpp"

namespace {

using seqmix::bf16;
using seqmix::f16;
using seqmix::simd::lanes;
using native = seqmix::simd::default_arch;
/// The same registers without the instructions that convert halves.
using without_f16c = seqmix::simd::arch<native::xsimd_arch, 0>;

/// Loads all 65536 patterns, from addresses that are not aligned, and counts the wrong ones.
template <class C, class Arch, class T>
int wrong_loads() {
  constexpr int w = lanes<C, Arch>;
  std::vector<T> all(0x10000 + 1);
  for (std::size_t i = 0; i < 0x10000; ++i) {
    all[i + 1].bits = static_cast<std::uint16_t>(i);
  }
  int wrong = 0;
  for (std::size_t i = 1; i + w <= all.size(); i += w) {
    alignas(64) C lane[w];
    seqmix::simd::load<C, Arch>(all.data() + i).store_aligned(lane);
    for (std::size_t j = 0; j < w; ++j) {
      const auto want = static_cast<C>(static_cast<float>(all[i + j]));
      if (std::isnan(want)) {
        wrong += !std::isnan(lane[j]) || std::signbit(lane[j]) != std::signbit(want);
      } else {
        wrong += std::memcmp(&want, &lane[j], sizeof(C)) != 0;
      }
    }
  }
  return wrong;
}

template <class Arch>
void check_every_pattern() {
  CHECK(wrong_loads<float, Arch, f16>() == 0);
  CHECK(wrong_loads<float, Arch, bf16>() == 0);
  CHECK(wrong_loads<double, Arch, f16>() == 0);
  CHECK(wrong_loads<double, Arch, bf16>() == 0);
}

template <class C, class T>
void check_exact(const std::vector<T>& x) {
  constexpr int w = lanes<C, native>;
  REQUIRE(x.size() > w);
  alignas(64) C lane[w];
  seqmix::simd::load<C, native>(x.data() + 1).store_aligned(lane);
  for (std::size_t i = 0; i < w; ++i) {
    CHECK(lane[i] == static_cast<C>(x[i + 1]));
  }
}

}  // namespace

TEST_CASE("every f16 and bf16 pattern loads as its scalar conversion says") {
  check_every_pattern<native>();
}

TEST_CASE("and without conversion instructions") { check_every_pattern<without_f16c>(); }

#if XSIMD_WITH_SSE2
TEST_CASE("and in the smallest registers of this architecture") {
  check_every_pattern<seqmix::simd::arch<xsimd::sse2, 0>>();
}
#endif
#if XSIMD_WITH_AVX2
TEST_CASE("and in registers of 256 bits") {
  check_every_pattern<seqmix::simd::arch<xsimd::avx2, 0>>();
#if defined(__F16C__)
  check_every_pattern<seqmix::simd::arch<xsimd::avx2, seqmix::simd::feature_f16c>>();
  check_every_pattern<seqmix::simd::arch<xsimd::sse2, seqmix::simd::feature_f16c>>();
#endif
}
#endif

TEST_CASE("float and double load as they are") {
  std::vector<float> x;
  std::vector<double> y;
  for (int i = 0; i < 40; ++i) {
    x.push_back(static_cast<float>(i) - 3.25f);
    y.push_back(i / 7.0);
  }
  check_exact<float>(x);
  check_exact<double>(y);
  check_exact<double>(x);
  check_exact<float>(y);
}

TEST_CASE("every int8 loads as itself") {
  std::vector<std::int8_t> x;
  for (int i = -129; i < 128; ++i) {
    x.push_back(static_cast<std::int8_t>(i));
  }
  for (; x.size() > 64; x.erase(x.begin(), x.begin() + 8)) {
    check_exact<float>(x);
    check_exact<double>(x);
  }
}
