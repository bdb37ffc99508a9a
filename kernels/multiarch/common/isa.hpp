// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

/// The instruction sets that kernels are compiled for, beside what the program was compiled for.
enum class isa { avx2, avx512 };

/// As `explain` and a pin have it: what the kernels' own tag is called.
const char* target(isa i) noexcept;

/// Why code for an instruction set cannot run here, or is not to; empty when it can. A CPU has it,
/// and so has the system, which must save its registers. The environment variable SEQMIX_ISA
/// leaves only the one that it names; "header" leaves none.
dispatch::fixed_text<128> lacking(isa i) noexcept;

}  // namespace multiarch

SEQMIX_END_NAMESPACE
