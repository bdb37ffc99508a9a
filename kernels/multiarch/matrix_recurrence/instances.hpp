// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/matrix_recurrence/problem.hpp>

// The engine of the recurrences by compute type, decay and update. instances_*.cpp define those of
// `SEQMIX_MULTIARCH_ISA`, which is the name of a namespace, once per instruction set.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

using recurrence = dispatch::implementation<matrix_recurrence_problem>;

/// Null where no operator has these.
struct recurrence_table {
  const recurrence* of[3][3];  // [decay][update]
};

namespace avx2 {
extern const recurrence_table recurrences_f32, recurrences_f64;
}
namespace avx512 {
extern const recurrence_table recurrences_f32, recurrences_f64;
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
