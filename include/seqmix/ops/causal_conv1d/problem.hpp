// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/sequence.hpp>
#include <seqmix/ops/causal_conv1d/options.hpp>

SEQMIX_BEGIN_NAMESPACE

/// The descriptor of one call of a short convolution over time:
///
///     y_t = act(b + sum_(i < W) w_i x_(t - left + i)) + residual x_t
///
/// Packed sequences appear with a batch axis of extent 1.
struct conv1d_problem {
  any_view<3> x;       // [B, T, D]
  any_view<2> weight;  // [D, W]
  any_out<3> y;        // [B, T, D]
  any_view<1> bias;    // [D]
  std::int64_t left = 0;
  conv_activation activation = conv_activation::none;
  bool residual = false;

  any_view<3> initial_state;  // [N or pool, D, L]
  any_out<3> final_state;
  any_view<1> initial_slots;
  any_view<1> final_slots;
  any_view<1> state_positions;

  bool packed = false;
  std::int64_t sequences = 0;
  any_view<1> offsets;  // [sequences + 1], packed only

  constexpr std::int64_t tokens() const noexcept { return x.extents[1]; }
  constexpr std::int64_t channels() const noexcept { return x.extents[2]; }
  constexpr std::int64_t taps() const noexcept { return weight.extents[1]; }
  /// Inputs that a state holds.
  constexpr std::int64_t state_length() const noexcept {
    return initial_state.given() ? initial_state.extents[2] : final_state.extents[2];
  }
};

struct causal_conv1d_problem : conv1d_problem {
  static constexpr const char* operator_name = "causal_conv1d";
};

struct depthwise_conv1d_problem : conv1d_problem {
  static constexpr const char* operator_name = "depthwise_conv1d";
};

namespace detail {

/// Where one sequence's tokens lie, and its states.
struct conv1d_sequence : sequence_place {
  std::int64_t position;  // of its first token, for circular states
};

SEQMIX_ALWAYS_INLINE conv1d_sequence conv1d_sequence_at(const conv1d_problem& p,
                                                        std::int64_t n) noexcept {
  return {sequence_place_at(p, n, p.tokens(), false),
          p.state_positions.given() ? index_at(p.state_positions, n) : 0};
}

/// The entry of the initial state that holds the input of time t < 0.
SEQMIX_ALWAYS_INLINE std::int64_t conv1d_entry_before(const conv1d_problem& p,
                                                      const conv1d_sequence& s,
                                                      std::int64_t t) noexcept {
  const std::int64_t length = p.state_length();
  if (!p.state_positions.given()) {
    return length + t;
  }
  return (s.position % length + length + t) % length;  // t is at least -length
}

}  // namespace detail

SEQMIX_END_NAMESPACE
