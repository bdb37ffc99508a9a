// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/causal_conv1d/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Short causal convolution over time, each channel by itself:
///
///     y_t = act(b + sum_(i < W) w_i x_(t - W + 1 + i))
///
/// x and y [B, T, D], or packed [total, D] with `options.varlen`; weight [D, W], W from 1 to 64;
/// `options.bias` [D]. act is `options.activation`: none, or silu, v / (1 + e^-v). With
/// `options.residual` x_t is added, after the activation. Inputs before the first are zero: no tap
/// crosses the start of a packed sequence.
///
/// `options.initial_state` [N, D, L] holds the L >= W - 1 inputs before the first of each of the N
/// sequences, the newest last; `options.final_state`, with the same L, gets the last L inputs, old
/// ones among them when T < L. They may be the same memory. With `options.initial_slots` [N]
/// they are a pool of which sequence n uses entry initial_slots[n]; `options.final_slots` names
/// other entries for the final states; -1 skips a sequence: neither its outputs nor its state are
/// written. With `options.state_positions` [N] the states are circular: the input of time t of a
/// sequence, counted from its first in this call, is entry (state_positions[n] + t) mod L. A stream
/// begins with zeros; the caller counts the positions on.
///
/// Elements are float, double, f16 or bf16, each tensor its own; sums are kept in float, in double
/// when x or y is double. Any strides; quick where x and y lie densely along channels, or along
/// time ([B, D, T] seen as [B, T, D]). `y` shares no memory with an input. A value that is not
/// finite reaches the W outputs of its channel that see it.
///
/// Work: 2 W D operations for each token; memory does not grow with T. Errors: `seqmix::error` for
/// every violated line of this contract, with nothing written. Used in: Gu and Dao, "Mamba:
/// Linear-Time Sequence Modeling with Selective State Spaces", 2023.
struct causal_conv1d_fn : detail::causal_conv1d_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::causal_conv1d_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::causal_conv1d_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr causal_conv1d_fn causal_conv1d{};

/// `causal_conv1d` of the next tokens of each sequence, one or more, with `state` [N, D, L] as both
/// its initial and its final state: `causal_conv1d_update(x, weight, y, state, options, ctx)`.
struct causal_conv1d_update_fn : detail::causal_conv1d_update_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::causal_conv1d_update_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::causal_conv1d_update_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr causal_conv1d_update_fn causal_conv1d_update{};

/// The oracles: the same calls, output by output in double.
struct naive_causal_conv1d_fn : detail::causal_conv1d_forms<detail::run_oracle> {};
inline constexpr naive_causal_conv1d_fn naive_causal_conv1d{};

struct naive_causal_conv1d_update_fn : detail::causal_conv1d_update_forms<detail::run_oracle> {};
inline constexpr naive_causal_conv1d_update_fn naive_causal_conv1d_update{};

SEQMIX_END_NAMESPACE
