// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/causal_conv1d/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The input of time t of a sequence: its own, before them the state's, zero beyond both.
template <class Tag>
double naive_conv1d_input(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t t,
                          std::int64_t d) {
  if (t >= 0 && t < s.tokens) {
    const auto& at = p.x.strides;
    return real_element<double>(p.x.data, p.x.type,
                                s.batch * at[0] + (s.begin + t) * at[1] + d * at[2]);
  }
  if (t >= s.tokens || !p.initial_state.given()) {
    return 0;
  }
  const auto& at = p.initial_state.strides;
  return real_element<double>(p.initial_state.data, p.initial_state.type,
                              s.initial * at[0] + d * at[1] + conv1d_entry_before(p, s, t) * at[2]);
}

/// The last inputs of channel d, of the sequence and its state together, become its state.
template <class Tag>
void naive_conv1d_state(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t d) {
  const std::int64_t length = p.state_length();
  for (std::int64_t j = 0; j < length; ++j) {
    // Ascending, so that a state in place is read before it is written.
    const std::int64_t t = s.tokens - length + j;
    const std::int64_t entry = p.state_positions.given() ? (s.position + length + t) % length : j;
    const auto& at = p.final_state.strides;
    set_real_element(p.final_state.data, p.final_state.type,
                     s.final * at[0] + d * at[1] + entry * at[2],
                     naive_conv1d_input<Tag>(p, s, t, d));
  }
}

/// The equation, output by output, in double:
///
///     y_t = act(b + sum_(i < W) w_i x_(t - left + i)) + residual x_t
template <class Tag, class Problem>
void naive_conv1d(const Problem& p) {
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const conv1d_sequence s = conv1d_sequence_at(p, n);
    for (std::int64_t d = 0; !s.skipped() && d < p.channels(); ++d) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        double y = p.bias.given()
                       ? real_element<double>(p.bias.data, p.bias.type, d * p.bias.strides[0])
                       : 0;
        for (std::int64_t i = 0; i < p.taps(); ++i) {
          y += real_element<double>(p.weight.data, p.weight.type,
                                    d * p.weight.strides[0] + i * p.weight.strides[1]) *
               naive_conv1d_input<Tag>(p, s, t - p.left + i, d);
        }
        y = p.activation == conv_activation::silu ? y / (1 + std::exp(-y)) : y;
        y = p.residual ? y + naive_conv1d_input<Tag>(p, s, t, d) : y;
        const auto& at = p.y.strides;
        set_real_element(p.y.data, p.y.type, s.batch * at[0] + (s.begin + t) * at[1] + d * at[2],
                         y);
      }
      if (p.final_state.given()) {
        naive_conv1d_state<Tag>(p, s, d);
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
