// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// dt = clamp(softplus(dt + bias)),   S = e^(A dt) S + B (dt x)^T,   y = S^T C + D x, times silu(z)
template <class Tag>
void naive_ssd(const matrix_recurrence_problem& p) {
  naive_recurrence<Tag>(p, [&](std::vector<double>& S, const naive_token& x, std::int64_t hv) {
    const auto parameter = [&](const head_parameter& of) {
      return of.given() ? real_at<double>(of, hv, std::int64_t{0}) : 0.0;
    };
    double dt = x.gate[0] + parameter(p.steps.bias);
    if (p.steps.softplus) {
      dt = dt > 40 ? dt : std::log1p(std::exp(dt));
    }
    dt = dt < p.steps.least ? p.steps.least : dt > p.steps.most ? p.steps.most : dt;
    const double decay = std::exp(parameter(p.steps.rate) * dt);
    const std::size_t P = x.v.size();
    for (std::size_t i = 0; i < S.size(); ++i) {
      S[i] = naive_kept<Tag>(decay, S[i]) + x.k[i / P] * dt * x.v[i % P];
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
