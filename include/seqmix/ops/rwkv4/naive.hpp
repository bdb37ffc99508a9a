// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// o = (num + e^(u + k) v) / (den + e^(u + k)); then num and den decay by e^w and take e^k v and
/// e^k. Both are kept divided by e^m.
template <class Tag>
void naive_rwkv4(const scan_problem& p) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  naive_scan<Tag>(
      p, {0, 0, -infinity}, [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
        // num and den against `to`, with a token of exponent e.
        const auto joined = [&](double from, double e, double to, double& num, double& den) {
          const double keep = from == -infinity ? 0 : std::exp(from - to);
          const double take = e == -infinity ? 0 : std::exp(e - to);
          num = (keep == 0 ? 0 : keep * h[0]) + (take == 0 ? 0 : take * x.in(1));
          den = (keep == 0 ? 0 : keep * h[1]) + take;
        };
        const double k = x.in(0);
        const double now = x.parameter(1) + k;
        double num = 0;
        double den = 0;
        joined(h[2], now, std::fmax(h[2], now), num, den);
        x.out(den == 0 ? 0 : num / den);
        const double decayed = h[2] + x.parameter(0);
        const double m = std::isnan(k) ? k : std::fmax(decayed, k);
        joined(decayed, k, m, num, den);
        h = {num, den, m};
      });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
