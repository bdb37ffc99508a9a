// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/version.hpp>

// Masked scores are minus infinity and NaN must travel: both are undefined under -ffast-math.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ == 1)
#error "seqmix relies on infinities and NaN: compile without -ffast-math / -ffinite-math-only"
#endif

#if defined(__CUDACC__)
#define SEQMIX_HOST_DEVICE __host__ __device__
#else
#define SEQMIX_HOST_DEVICE
#endif

// Helpers of a kernel must vanish into it: an out-of-line copy would carry one unit's instruction
// set into every other unit that shares the symbol.
#if defined(__GNUC__) || defined(__clang__)
#define SEQMIX_ALWAYS_INLINE inline __attribute__((always_inline))
#define SEQMIX_RESTRICT __restrict__
#else
#define SEQMIX_ALWAYS_INLINE inline
#define SEQMIX_RESTRICT
#endif

#if defined(__cpp_exceptions)
#define SEQMIX_HAS_EXCEPTIONS 1
#else
#define SEQMIX_HAS_EXCEPTIONS 0
#endif
