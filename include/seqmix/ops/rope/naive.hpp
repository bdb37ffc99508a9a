// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/convert.hpp>
#include <seqmix/ops/rope/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Angle of pair c of part `part` of the rotary channels, for token t of sequence b.
template <class Tag>
double naive_rope_angle(const rope_problem& p, std::int64_t b, std::int64_t t, std::int64_t part,
                        std::int64_t c) {
  const auto exponent =
      -2.0 * static_cast<double>(c) / static_cast<double>(p.rotary_dims / rope_parts(p));
  const auto first = [&] {
    return static_cast<double>(rope_position(p, b, t)) * std::pow(p.base, exponent);
  };
  const auto second = [&] {
    return static_cast<double>(position_at(p.second_positions, b, t)) *
           std::pow(p.second_base, exponent);
  };
  switch (p.axes) {
    case rope_axes::split:
      return part == 0 ? first() : second();
    case rope_axes::sum:
      return first() + second();
    default:
      return first();
  }
}

/// The equation, pair by pair, in double. With axes one, of one part with dims channels,
///
///     a = position base^(-2c / dims),  (x, y) -> (x cos a - y sin a, y cos a + x sin a)
template <class TX, class TO, class Tag>
void naive_rope(const rope_problem& p) {
  const auto x = restore<const TX>(p.x);
  const auto o = restore<TO>(p.o);
  const std::int64_t channels = p.rotary_dims / rope_parts(p);
  for (std::int64_t b = 0; b < x.extent(0); ++b) {
    for (std::int64_t t = 0; t < x.extent(1); ++t) {
      for (std::int64_t h = 0; h < x.extent(2); ++h) {
        for (std::int64_t part = 0; part < rope_parts(p); ++part) {
          for (std::int64_t c = 0; c < channels / 2; ++c) {
            const rope_pair at(p.layout, channels, c);
            const std::int64_t i = part * channels + at.first;
            const std::int64_t j = part * channels + at.second;
            const double angle = naive_rope_angle<Tag>(p, b, t, part, c);
            const double first = widen<double>(x(b, t, h, i));
            const double second = widen<double>(x(b, t, h, j));
            o(b, t, h, i) = narrow<TO>(first * std::cos(angle) - second * std::sin(angle));
            o(b, t, h, j) = narrow<TO>(second * std::cos(angle) + first * std::sin(angle));
          }
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
