// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/score.hpp>

#include "sequence.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The scores as they are.
struct plain_score {
  static constexpr bool plain = true;
};

/// A user's functor on the scaled score.
template <class F>
struct functor_score {
  static constexpr bool plain = false;
  F function;
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
