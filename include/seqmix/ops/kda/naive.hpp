// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// S' = diag(e^g) S,   S = S' + k (beta (v - S'^T k))^T
template <class Tag>
void naive_kda(const matrix_recurrence_problem& p) {
  const auto K = static_cast<std::size_t>(p.key_dim());
  const auto V = static_cast<std::size_t>(p.value_dim());
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t /*hv*/) {
    for (std::size_t d = 0; d < K; ++d) {
      for (std::size_t c = 0; c < V; ++c) {
        double& s = S[d * V + c];
        s = naive_kept<Tag>(x.decay[d], s);
      }
    }
    naive_delta_write<Tag>(S, x);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
