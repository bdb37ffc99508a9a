// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// S = (diag(e^g) + b a^T) S + k v^T
template <class Tag>
void naive_dplr_delta_rule(const matrix_recurrence_problem& p) {
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t /*hv*/) {
    naive_low_rank_step<Tag>(S, x, x.a, x.b);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
