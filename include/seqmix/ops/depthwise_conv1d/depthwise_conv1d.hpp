// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/causal_conv1d/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Short convolution over time that looks both ways, each channel by itself:
///
///     y_t = act(b + sum_(i < W) w_i x_(t - left + i))
///
/// x and y [B, T, D], or packed [total, D] with `options.varlen`; weight [D, W], W from 1 to 64;
/// `options.bias` [D]. `options.left` is how many taps lie before the output's own token, 0 to
/// W - 1: (W - 1) / 2 unless given, which centres an odd W. With W - 1 it is `causal_conv1d`, bit
/// for bit, which also has states. act is `options.activation`: none, or silu, v / (1 + e^-v). With
/// `options.residual` x_t is added, after the activation. Inputs beyond both ends of a sequence are
/// zero.
///
/// Elements are float, double, f16 or bf16, each tensor its own; sums are kept in float, in double
/// when x or y is double. Any strides; quick where x and y lie densely along channels, or along
/// time. `y` shares no memory with an input. A value that is not finite reaches the W outputs of
/// its channel that see it.
///
/// Work: 2 W D operations for each token. Errors: `seqmix::error` for every violated line of this
/// contract, with nothing written. Used with W = 7 in: Hwang et al., "Hydra: Bidirectional State
/// Space Models Through Generalized Matrix Mixers", 2024.
struct depthwise_conv1d_fn : detail::depthwise_conv1d_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::depthwise_conv1d_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::depthwise_conv1d_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr depthwise_conv1d_fn depthwise_conv1d{};

/// The oracle: the same call, output by output in double.
struct naive_depthwise_conv1d_fn : detail::depthwise_conv1d_forms<detail::run_oracle> {};
inline constexpr naive_depthwise_conv1d_fn naive_depthwise_conv1d{};

SEQMIX_END_NAMESPACE
