// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// m, u = sum e^(x - m), w = sum e^(x - m) v over the tokens so far; o = w / u.
template <class Tag>
void naive_prefix_softmax_scan(const scan_problem& p) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  naive_scan<Tag>(p, {-infinity, 0, 0},
                  [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
                    const double score = x.in(0);
                    if (score != -infinity) {
                      const double m = std::isnan(score) ? score : std::fmax(h[0], score);
                      const double keep = h[0] == -infinity ? 0 : std::exp(h[0] - m);
                      const double take = std::exp(score - m);
                      h = {m, h[1] * keep + take, h[2] * keep + take * x.in(1)};
                    }
                    x.out(h[1] == 0 ? 0 : h[2] / h[1]);
                  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
