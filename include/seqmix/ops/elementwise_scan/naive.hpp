// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <complex>
#include <limits>
#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// log(e^x + e^y).
template <class Tag>
double naive_log_add(double x, double y) {
  if (x == y && std::isinf(x)) {
    return x;
  }
  return std::isnan(x) || std::isnan(y) ? x + y
                                        : std::fmax(x, y) + std::log1p(std::exp(-std::fabs(x - y)));
}

/// The monoids, channel by channel. Inputs are a and b, of complex numbers each in two parts, or x.
template <class Tag>
void naive_elementwise_scan(const scan_problem& p) {
  using token = naive_scan_token<Tag>;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const bool bounded =
      p.monoid == scan_monoid::log_sum_exp || p.monoid == scan_monoid::max;  // from below
  naive_scan<Tag>(p, {bounded ? -infinity : 0, 0}, [&](std::vector<double>& h, const token& x) {
    const std::vector<double> before = h;
    switch (p.monoid) {
      case scan_monoid::affine: {
        const double a = p.log_decay ? std::exp(x.in(0)) : x.in(0);
        h[0] = naive_scan_kept<Tag>(a, h[0]) + x.in(1);
        break;
      }
      case scan_monoid::affine_complex: {
        const double ar = x.in(0);
        const double ai = x.in(1);
        const bool over = ar == 0 && ai == 0;
        h[0] = (over ? 0 : ar * before[0] - ai * before[1]) + x.in(2);
        h[1] = (over ? 0 : ar * before[1] + ai * before[0]) + x.in(3);
        break;
      }
      case scan_monoid::log_sum_exp:
        h[0] = naive_log_add<Tag>(h[0], x.in(0));
        break;
      case scan_monoid::max:
        h[0] = std::isnan(h[0]) || std::isnan(x.in(0)) ? h[0] + x.in(0) : std::fmax(h[0], x.in(0));
        break;
      case scan_monoid::sum:
        h[0] += x.in(0);
        break;
    }
    const std::vector<double>& shown = p.exclusive ? before : h;
    x.out(shown[0]);
    if (p.monoid == scan_monoid::affine_complex) {
      x.out(shown[1], 1);
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
