// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// S = (diag(e^g) - (kk a) kk^T) S + k v^T; kk and a stand where the general form has a and b
template <class Tag>
void naive_rwkv7(const matrix_recurrence_problem& p) {
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t /*hv*/) {
    std::vector<double> a = x.a;
    std::vector<double> b = x.b;
    for (std::size_t d = 0; d < a.size(); ++d) {
      b[d] *= x.a[d];
      a[d] = -x.a[d];
    }
    naive_low_rank_step<Tag>(S, x, a, b);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
