// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/convert.hpp>
#include <seqmix/ops/rope/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The equation, pair by pair, in double:
///
///     a = position base^(-2c / dims),  (x, y) -> (x cos a - y sin a, y cos a + x sin a)
template <class TX, class TO, class Tag>
void naive_rope(const rope_problem& p) {
  const auto x = restore<const TX>(p.x);
  const auto o = restore<TO>(p.o);
  for (std::int64_t b = 0; b < x.extent(0); ++b) {
    for (std::int64_t t = 0; t < x.extent(1); ++t) {
      const double position = static_cast<double>(rope_position(p, b, t));
      for (std::int64_t h = 0; h < x.extent(2); ++h) {
        for (std::int64_t c = 0; c < p.rotary_dims / 2; ++c) {
          const rope_pair at(p, c);
          const double angle = position * std::pow(p.base, -2.0 * static_cast<double>(c) /
                                                               static_cast<double>(p.rotary_dims));
          const double first = widen<double>(x(b, t, h, at.first));
          const double second = widen<double>(x(b, t, h, at.second));
          o(b, t, h, at.first) = narrow<TO>(first * std::cos(angle) - second * std::sin(angle));
          o(b, t, h, at.second) = narrow<TO>(second * std::cos(angle) + first * std::sin(angle));
        }
        for (std::int64_t d = p.rotary_dims; d < x.extent(3); ++d) {
          o(b, t, h, d) = narrow<TO>(widen<double>(x(b, t, h, d)));
        }
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
