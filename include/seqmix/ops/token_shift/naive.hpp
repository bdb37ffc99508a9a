// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// o_t = (1 - mu) x_t + mu x_(t-1); the state is the last x.
template <class Tag>
void naive_token_shift(const scan_problem& p) {
  naive_scan<Tag>(p, {0}, [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
    const double mu = x.parameter(0);
    x.out((1 - mu) * x.in(0) + mu * h[0]);
    h[0] = x.in(0);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
