// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h = a h + sqrt(1 - a^2) (i x) with a = e^(-c softplus(lambda) r), gates behind their sigmoids.
template <class Tag>
void naive_rg_lru(const scan_problem& p) {
  naive_scan<Tag>(p, {0}, [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
    const double i = 1 / (1 + std::exp(-x.in(1)));
    const double r = 1 / (1 + std::exp(-x.in(2)));
    const double lambda = x.parameter(0);
    const double softplus = lambda > 40 ? lambda : std::log1p(std::exp(lambda));
    const double log_a = -p.numbers[0] * softplus * r;
    h[0] = naive_scan_kept<Tag>(std::exp(log_a), h[0]) +
           std::sqrt(-std::expm1(2 * log_a)) * i * x.in(0);
    x.out(h[0]);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
