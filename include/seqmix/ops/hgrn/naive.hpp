// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h = f h + (1 - f) x, or f h + x, with f = e^g.
template <class Tag>
void naive_hgrn(const scan_problem& p) {
  naive_scan<Tag>(p, {0}, [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
    const double f = p.log_decay ? std::exp(x.in(1)) : x.in(1);
    const double share = p.log_decay ? -std::expm1(x.in(1)) : 1 - x.in(1);
    h[0] = naive_scan_kept<Tag>(f, h[0]) + (p.flag ? share : 1) * x.in(0);
    x.out(h[0]);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
