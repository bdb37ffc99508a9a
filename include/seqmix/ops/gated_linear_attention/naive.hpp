// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// S = diag(e^g) S + k v^T
template <class Tag>
void naive_gated_linear_attention(const matrix_recurrence_problem& p) {
  const auto K = static_cast<std::size_t>(p.key_dim());
  const auto V = static_cast<std::size_t>(p.value_dim());
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t /*hv*/) {
    for (std::size_t d = 0; d < K; ++d) {
      for (std::size_t c = 0; c < V; ++c) {
        S[d * V + c] = naive_kept<Tag>(x.decay[d], S[d * V + c]) + x.k[d] * x.v[c];
      }
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
