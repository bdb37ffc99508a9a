// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// S' = e^g S,   S = S' + k (beta (v - S'^T k))^T
template <class Tag>
void naive_gated_delta_rule(const matrix_recurrence_problem& p) {
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t /*hv*/) {
    for (double& s : S) {
      s = naive_kept<Tag>(x.decay[0], s);
    }
    naive_delta_write<Tag>(S, x);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
