// SPDX-License-Identifier: Apache-2.0
#include <seqmix/ops/causal_conv1d/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::SEQMIX_MULTIARCH_ISA {

namespace {

template <class Problem>
constexpr convolutions<Problem> both{
    {&detail::conv1d_list<Problem, float, simd::default_arch>[0],
     &detail::conv1d_list<Problem, double, simd::default_arch>[0]}};

}  // namespace

constinit const convolutions<causal_conv1d_problem> causal = both<causal_conv1d_problem>;
constinit const convolutions<depthwise_conv1d_problem> depthwise = both<depthwise_conv1d_problem>;

}  // namespace multiarch::SEQMIX_MULTIARCH_ISA

SEQMIX_END_NAMESPACE
