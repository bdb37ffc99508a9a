// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/causal_conv1d/problem.hpp>

// The short convolutions by compute type. instances_*.cpp define those of `SEQMIX_MULTIARCH_ISA`,
// which is the name of a namespace, once per instruction set.

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

/// In float and in double.
template <class Problem>
struct convolutions {
  const dispatch::implementation<Problem>* of[2];
};

namespace avx2 {
extern const convolutions<causal_conv1d_problem> causal;
extern const convolutions<depthwise_conv1d_problem> depthwise;
}  // namespace avx2
namespace avx512 {
extern const convolutions<causal_conv1d_problem> causal;
extern const convolutions<depthwise_conv1d_problem> depthwise;
}  // namespace avx512

}  // namespace multiarch

SEQMIX_END_NAMESPACE
