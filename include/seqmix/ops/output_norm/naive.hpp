// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/convert.hpp>
#include <seqmix/ops/output_norm/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// An element of a tensor of real numbers, at an offset from its first.
template <class Tag>
double naive_real(const void* data, scalar_type type, std::int64_t at) {
  double value = 0;
  with_real_elements(data, type, [&](const auto* first) { value = widen<double>(first[at]); });
  return value;
}

template <class Tag>
double naive_repeated(const any_view<2>& v, std::int64_t h, std::int64_t d) {
  return naive_real<Tag>(
      v.data, v.type,
      (v.extents[0] == 1 ? 0 : h * v.strides[0]) + (v.extents[1] == 1 ? 0 : d * v.strides[1]));
}

template <class Tag>
double naive_gate(const output_norm_problem& p, std::int64_t b, std::int64_t t, std::int64_t h,
                  std::int64_t d) {
  const auto& s = p.gate.strides;
  const double g =
      naive_real<Tag>(p.gate.data, p.gate.type, b * s[0] + t * s[1] + h * s[2] + d * s[3]);
  const double sigmoid = 1 / (1 + std::exp(-g));
  return p.gate_by == output_gate::plain     ? g
         : p.gate_by == output_gate::sigmoid ? sigmoid
                                             : g * sigmoid;
}

/// The equation, row by row, in double:
///
///     n = x / sqrt(mean x^2 + eps)   or   (x - mean x) / sqrt(var x + eps)
///                                    or   sqrt(D) x / max(||x||_2, eps)
///                                    or   x / sqrt(sum x^2 + eps)
///     o = (n weight + bias) f(gate), or n of x f(gate) in place of x, without a gate after
template <class TX, class TO, class Tag>
void naive_output_norm(const output_norm_problem& p) {
  const auto x = restore<const TX>(p.x);
  const auto o = restore<TO>(p.o);
  const std::int64_t D = x.extent(3);
  for (std::int64_t b = 0; b < x.extent(0); ++b) {
    for (std::int64_t t = 0; t < x.extent(1); ++t) {
      for (std::int64_t h = 0; h < x.extent(2); ++h) {
        const auto value = [&](std::int64_t d) {
          return widen<double>(x(b, t, h, d)) *
                 (p.gates(output_gate_place::before_norm) ? naive_gate<Tag>(p, b, t, h, d) : 1);
        };
        double mean = 0;
        if (p.kind == output_norm_kind::layer_norm) {
          for (std::int64_t d = 0; d < D; ++d) {
            mean += value(d);
          }
          mean /= static_cast<double>(D);
        }
        double squares = 0;
        for (std::int64_t d = 0; d < D; ++d) {
          const double centred = value(d) - mean;
          squares += centred * centred;
        }
        const double factor = output_norm_factor(p, squares);
        for (std::int64_t d = 0; d < D; ++d) {
          double y = (value(d) - mean) * factor;
          y = p.weight.given() ? y * naive_repeated<Tag>(p.weight, h, d) : y;
          y = p.bias.given() ? y + naive_repeated<Tag>(p.bias, h, d) : y;
          y = p.gates(output_gate_place::after_norm) ? y * naive_gate<Tag>(p, b, t, h, d) : y;
          o(b, t, h, d) = narrow<TO>(y);
        }
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
