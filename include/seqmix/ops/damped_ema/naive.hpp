// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h_n = alpha_n beta_n x + (1 - alpha_n delta_n) h_n, o = sum eta_n h_n.
template <class Tag>
void naive_damped_ema(const scan_problem& p) {
  const auto modes = static_cast<std::size_t>(p.state_numbers);
  naive_scan<Tag>(
      p, std::vector<double>(modes), [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
        double y = 0;
        for (std::size_t n = 0; n < modes; ++n) {
          const auto mode = static_cast<std::int64_t>(n);
          const double alpha = x.parameter(0, mode);
          h[n] = alpha * x.parameter(2, mode) * x.in(0) + (1 - alpha * x.parameter(1, mode)) * h[n];
          y += x.parameter(3, mode) * h[n];
        }
        x.out(y);
      });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
