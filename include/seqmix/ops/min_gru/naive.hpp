// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/ops/elementwise_scan/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h = (1 - z) h + z h~, z = sigmoid(k); or, of positive numbers, the same in logarithms:
/// log h = log(e^(log(1 - z) + log h) + e^(log z + log g(h~))).
template <class Tag>
void naive_min_gru(const scan_problem& p) {
  naive_scan<Tag>(p, {0}, [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
    const auto softplus = [](double y) { return y > 40 ? y : std::log1p(std::exp(y)); };
    const double k = x.in(0);
    const double candidate = x.in(1);
    if (p.flag) {
      const double log_g = candidate >= 0 ? std::log(candidate + 0.5) : -softplus(-candidate);
      h[0] = std::exp(naive_log_add<Tag>(-softplus(k) + std::log(h[0]), -softplus(-k) + log_g));
    } else {
      const double z = 1 / (1 + std::exp(-k));
      h[0] = h[0] / (1 + std::exp(k)) + z * candidate;
    }
    x.out(h[0]);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
