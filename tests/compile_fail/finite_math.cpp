// SPDX-License-Identifier: Apache-2.0
// flags: -ffinite-math-only
// expect: compile without -ffast-math
#include <seqmix/core/tensor_view.hpp>

// SEQMIX_COMPILE_FAIL_CONTROL: the same file without the flag.
