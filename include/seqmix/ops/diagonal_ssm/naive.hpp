// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <complex>
#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h_n = a_n h_n + b_n u in complex numbers, o = 2 Re sum c_n h_n + d u. Of a continuous system
/// e^(a dt) and (e^(a dt) - 1) / a b stand for a and b.
template <class Tag>
void naive_diagonal_ssm(const scan_problem& p) {
  using number = std::complex<double>;
  const auto numbers = static_cast<std::size_t>(p.state_numbers);
  naive_scan<Tag>(p, std::vector<double>(numbers),
                  [&](std::vector<double>& h, const naive_scan_token<Tag>& x) {
                    const double u = x.in(0);
                    double y = p.parameter_names[3] == nullptr ? 0 : x.parameter(3) * u;
                    for (std::size_t n = 0; 2 * n < numbers; ++n) {
                      const auto entry = [&](std::size_t i) {
                        const auto mode = static_cast<std::int64_t>(n);
                        return number(x.parameter(i, mode, 0), x.parameter(i, mode, 1));
                      };
                      number a = entry(0);
                      number b = entry(1);
                      if (p.flag) {
                        const double dt = x.parameter(4);
                        b *= a == 0.0 ? number(dt) : (std::exp(a * dt) - 1.0) / a;
                        a = std::exp(a * dt);
                      }
                      const number state = a * number(h[2 * n], h[2 * n + 1]) + b * u;
                      h[2 * n] = state.real();
                      h[2 * n + 1] = state.imag();
                      y += 2 * (entry(2) * state).real();
                    }
                    x.out(y);
                  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
