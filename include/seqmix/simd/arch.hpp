// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <seqmix/core/config.hpp>
#include <type_traits>
#include <xsimd/xsimd.hpp>

static_assert(XSIMD_VERSION_MAJOR >= 8, "seqmix needs xsimd 8.1 or newer");

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// Instruction sets that change what a kernel compiles to but are no part of xsimd's architecture.
inline constexpr unsigned feature_f16c = 1;

/// The tag that every kernel carries as a template parameter. It names all that compiler flags may
/// change in the kernel's body: two units with different flags never share a symbol.
template <class XsimdArch, unsigned Features>
struct arch {
  using xsimd_arch = XsimdArch;
  static constexpr unsigned features = Features;
};

#if defined(__F16C__)
using default_arch = arch<xsimd::default_arch, feature_f16c>;
#else
using default_arch = arch<xsimd::default_arch, 0>;
#endif

/// A register full of C.
template <class C, class Arch>
using vec = xsimd::batch<C, typename Arch::xsimd_arch>;

template <class C, class Arch>
inline constexpr int lanes = static_cast<int>(vec<C, Arch>::size);

/// Vector registers of the architecture: 32 with AVX-512 and AArch64, else 16.
template <class Arch>
inline constexpr int register_count =
    sizeof(vec<float, Arch>) == 64 || std::is_base_of_v<xsimd::neon, typename Arch::xsimd_arch>
        ? 32
        : 16;

/// The name that `explain` prints and a pin compares with.
template <class Arch>
const char* isa_name() noexcept {
  return Arch::xsimd_arch::name();
}

}  // namespace simd

SEQMIX_END_NAMESPACE
