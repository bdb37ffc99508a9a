// SPDX-License-Identifier: Apache-2.0
#include "../common/backend.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

struct recurrence_kernels {
  using problem = matrix_recurrence_problem;

  static dispatch::fixed_text<128> lacking(const problem& p) noexcept {
    return of<isa::avx2>(p) == nullptr ? "this decay with this update" : "";
  }

  /// The types of q, k, v and o decide what is computed in, as in the header.
  template <isa I>
  static const recurrence* of(const problem& p) noexcept {
    const bool wide = any_f64({p.q.type, p.k.type, p.v.type, p.o.type});
    const recurrence_table& table =
        I == isa::avx2 ? (wide ? avx2::recurrences_f64 : avx2::recurrences_f32)
                       : (wide ? avx512::recurrences_f64 : avx512::recurrences_f32);
    return table.of[static_cast<int>(p.decay)][static_cast<int>(p.update)];
  }
};

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_matrix_recurrence_registered =
    seqmix::multiarch::backends<seqmix::multiarch::recurrence_kernels>::add();
