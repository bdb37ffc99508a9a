// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

/// The instruction sets that kernels are compiled for, beside what the program was compiled for.
/// `amx` is AVX-512 with AVX512_BF16 and the tiles of bf16.
enum class isa { avx2, avx512, amx };

/// As `explain` and a pin have it: what the kernels' own tag is called.
const char* target(isa i) noexcept;

/// Why code for an instruction set cannot run here, or is not to; empty when it can. A CPU has it,
/// and so has the system, which must save its registers. The environment variable SEQMIX_ISA
/// leaves only the one that it names, "avx512" also amx; "header" leaves none.
dispatch::fixed_text<128> lacking(isa i) noexcept;

/// Asks the system to let this process use tile registers, which enlarges what it saves of each
/// thread from then on. Asks once; false when it refuses.
bool permit_tiles() noexcept;

}  // namespace multiarch

SEQMIX_END_NAMESPACE
