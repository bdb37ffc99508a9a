// SPDX-License-Identifier: Apache-2.0
#include "../common/backend.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

template <class Problem>
struct convolution_kernels {
  using problem = Problem;

  /// The types of x and y decide what is computed in, as in the header.
  template <isa I>
  static const dispatch::implementation<problem>* of(const problem& p) noexcept {
    return table<I>().of[any_f64({p.x.type, p.y.type}) ? 1 : 0];
  }

 private:
  template <isa I>
  static const convolutions<problem>& table() noexcept {
    if constexpr (std::is_same_v<problem, causal_conv1d_problem>) {
      return I == isa::avx2 ? avx2::causal : avx512::causal;
    } else {
      return I == isa::avx2 ? avx2::depthwise : avx512::depthwise;
    }
  }
};

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_causal_conv1d_registered =
    seqmix::multiarch::backends<
        seqmix::multiarch::convolution_kernels<seqmix::causal_conv1d_problem>>::add() &&
    seqmix::multiarch::backends<
        seqmix::multiarch::convolution_kernels<seqmix::depthwise_conv1d_problem>>::add();
