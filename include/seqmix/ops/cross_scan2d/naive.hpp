// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/naive_scan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The sum of what the four sequences hold for each place of the map.
template <class Tag>
void naive_cross_merge2d(const scan_problem& p) {
  naive_scan<Tag>(p, {0}, [&](std::vector<double>&, const naive_scan_token<Tag>& x) {
    x.out(x.in(0) + x.in(1) + x.in(2) + x.in(3));
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
