// SPDX-License-Identifier: Apache-2.0
#include "../common/backend.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

struct elementwise_scan_kernels {
  using problem = scan_problem;

  /// The types of the tensors over time decide what is computed in, as in the header.
  template <isa I>
  static const elementwise_scan* of(const problem& p) noexcept {
    const elementwise_scans& all = I == isa::avx2 ? by_type(p, avx2::scans_f32, avx2::scans_f64,
                                                            avx2::scans_f16, avx2::scans_bf16)
                                                  : by_type(p, avx512::scans_f32, avx512::scans_f64,
                                                            avx512::scans_f16, avx512::scans_bf16);
    return &all[static_cast<std::size_t>(p.form)];
  }

 private:
  static const elementwise_scans& by_type(const problem& p, const elementwise_scans& f32,
                                          const elementwise_scans& f64,
                                          const elementwise_scans& f16,
                                          const elementwise_scans& bf16) noexcept {
    const scalar_type o = p.outputs[0].type;
    bool one = true;
    bool wide = o == scalar_type::f64;
    for (const any_view<5>& x : p.inputs) {
      one &= x.type == o || x.type == scalar_type::none;
      wide |= x.type == scalar_type::f64;
    }
    return wide                            ? f64
           : one && o == scalar_type::f16  ? f16
           : one && o == scalar_type::bf16 ? bf16
                                           : f32;
  }
};

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_elementwise_scan_registered =
    seqmix::multiarch::backends<seqmix::multiarch::elementwise_scan_kernels>::add();
