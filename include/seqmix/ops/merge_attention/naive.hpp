// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/merge_attention/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The equation, in double; parts with LSE = -inf are neutral:
///
///     LSE = log sum_p e^(LSE_p),   o = sum_p e^(LSE_p) o_p / sum_p e^(LSE_p)
///
/// with the largest LSE_p taken out of both sums.
template <class TA, class TB, class TO, class Tag>
void naive_merge_attention(const merge_attention_problem& p) {
  constexpr double none = -std::numeric_limits<double>::infinity();
  const auto o = restore<TO>(p.o);
  for (std::int64_t b = 0; b < o.extent(0); ++b) {
    for (std::int64_t t = 0; t < o.extent(1); ++t) {
      for (std::int64_t h = 0; h < o.extent(2); ++h) {
        const merge_row<TA, TB> row{p, b, t, h};
        double maximum = none;
        for (std::int64_t part = 0; part < p.parts(); ++part) {
          maximum = std::fmax(maximum, row.lse(part));
        }
        double sum = 0;
        for (std::int64_t part = 0; part < p.parts(); ++part) {
          sum += row.lse(part) == none ? 0 : std::exp(row.lse(part) - maximum);
        }
        const double lse = sum == 0 ? none : maximum + std::log(sum);
        for (std::int64_t c = 0; c < o.extent(3); ++c) {
          double value = 0;
          for (std::int64_t part = 0; part < p.parts(); ++part) {
            if (row.lse(part) != none) {
              const double weight = std::exp(row.lse(part) - maximum) / sum;
              row.values(part, [&](const auto* v, std::int64_t stride) {
                value += weight * widen<double>(v[c * stride]);
              });
            }
          }
          o(b, t, h, c) = narrow<TO>(value);
        }
        write_lse(p.lse, b, h, t, lse);
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
