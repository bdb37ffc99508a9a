// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/naive_features.hpp>
#include <seqmix/ops/features/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// o = phi(x), row by row, in double.
template <class TX, class TO, class Tag>
void naive_features(const features_problem& p) {
  const auto x = restore<const TX>(p.x);
  const auto o = restore<TO>(p.o);
  for (std::int64_t b = 0; b < x.extent(0); ++b) {
    for (std::int64_t t = 0; t < x.extent(1); ++t) {
      for (std::int64_t h = 0; h < x.extent(2); ++h) {
        std::vector<double> row;
        for (std::int64_t d = 0; d < x.extent(3); ++d) {
          row.push_back(widen<double>(x(b, t, h, d)));
        }
        const std::vector<double> y = naive_feature_row<Tag>(p.map, p.role, h, t, row);
        for (std::size_t d = 0; d < y.size(); ++d) {
          o(b, t, h, static_cast<std::int64_t>(d)) = narrow<TO>(y[d]);
        }
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
