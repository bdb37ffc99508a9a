// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <seqmix/simd/arch.hpp>

// The second spelling is that of older clang.
#if (defined(__AMX_TILE__) && defined(__AMX_BF16__)) || \
    (defined(__AMXTILE__) && defined(__AMXBF16__))
#define SEQMIX_HAS_AMX_BF16 1
#include <immintrin.h>
#endif

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// AVX512_BF16, beside `feature_f16c`. In no default: kernels ask for it.
inline constexpr unsigned feature_bf16 = 2;

#ifdef SEQMIX_HAS_AMX_BF16

/// Products of bf16 matrices by Intel's AMX: the engine of the attention by tiles. A process must
/// have asked the system for tile registers, and a thread must have configured its own.
///
/// Of 32 elements of a sum, AMX adds the products of even and of odd index by themselves, then both
/// together to what came before, each addition rounded to nearest even. Subnormal numbers, bf16 or
/// float, are zero to it.
struct amx_tiles {
  static constexpr const char* name = "amx_bf16";

  static SEQMIX_ALWAYS_INLINE void configure() noexcept { _tile_loadconfig(&shapes); }
  static SEQMIX_ALWAYS_INLINE void release() noexcept { _tile_release(); }

  /// C = A B: C[32][32] is overwritten, A is [32][32 steps], rows `a_row` and `c_row` elements
  /// apart. B is [steps][2 halves of 16 columns][16 pairs][16 columns][2]: pair i of a step holds
  /// its rows 2i and 2i + 1.
  static SEQMIX_ALWAYS_INLINE void multiply(const bf16* a, std::int64_t a_row, const bf16* b,
                                            std::int64_t steps, float* c,
                                            std::int64_t c_row) noexcept {
    constexpr std::int64_t half = 512;  // elements of a tile
    const std::int64_t a_bytes = a_row * 2;
    const std::int64_t c_bytes = c_row * 4;
    // Some compilers do not know what tile loads read: all that was written must be in memory.
    __asm__ volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (; steps > 0; --steps) {
      _tile_loadd(4, a, a_bytes);
      _tile_loadd(6, b, 64);
      _tile_loadd(7, b + half, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, a + 16 * a_row, a_bytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      a += 32;
      b += 2 * half;
    }
    _tile_stored(0, c, c_bytes);
    _tile_stored(1, c + 16, c_bytes);
    _tile_stored(2, c + 16 * c_row, c_bytes);
    _tile_stored(3, c + 16 * c_row + 16, c_bytes);
    __asm__ volatile("" ::: "memory");
  }

 private:
  struct alignas(64) configuration {
    std::uint8_t palette;
    std::uint8_t start_row;
    std::uint8_t reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t rows[16];
  };
  static_assert(sizeof(configuration) == 64);

  /// Eight tiles of 16 rows of 64 bytes: 0 to 3 are C, 4 and 5 A, 6 and 7 B.
  static constexpr configuration shapes{
      1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
};

/// The tag of kernels in units that are compiled with AVX-512, AVX512_BF16 and AMX.
using amx_arch = arch<xsimd::default_arch, feature_f16c | feature_bf16>;

#endif

}  // namespace simd

SEQMIX_END_NAMESPACE
