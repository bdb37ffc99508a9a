// SPDX-License-Identifier: Apache-2.0
#include "../common/backend.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

bool wide(const selective_scan_problem& p) noexcept {
  return any_f64({p.u.type, p.delta.type, p.A.type, p.B.type, p.C.type, p.y.type});
}

struct scan_kernels {
  using problem = selective_scan_problem;

  /// The types of the call's own tensors decide what is computed in, as in the header.
  template <isa I>
  static const scan* of(const problem& p) noexcept {
    const auto& table = I == isa::avx2 ? avx2::scans : avx512::scans;
    return table[wide(p) ? 1 : 0][p.parts() - 1];
  }
};

struct scan_update_kernels {
  using problem = selective_state_update_problem;

  template <isa I>
  static const scan_update* of(const problem& p) noexcept {
    const auto& table = I == isa::avx2 ? avx2::scan_updates : avx512::scan_updates;
    return table[wide(p.scan) || p.state.type == scalar_type::f64 ? 1 : 0];
  }
};

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_selective_scan_registered =
    seqmix::multiarch::backends<seqmix::multiarch::scan_kernels>::add() &&
    seqmix::multiarch::backends<seqmix::multiarch::scan_update_kernels>::add();
