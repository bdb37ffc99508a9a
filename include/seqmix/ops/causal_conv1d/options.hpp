// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What is made of the sum of a short convolution.
enum class conv_activation {
  none,
  silu,  ///< y / (1 + e^-y)
};

/// Packed sequences of a short convolution: all tensors have one time axis.
struct conv_varlen {
  any_view<1> offsets{};   ///< [N + 1] int32 or int64, from 0, into the time axis
  std::int64_t max_t = 0;  ///< longest sequence; needed when the offsets are on a device
};

/// Options of `causal_conv1d` and `causal_conv1d_update`. Members are only ever appended.
struct causal_conv1d_options {
  any_view<1> bias{};  ///< [D]; zeros when absent
  conv_activation activation = conv_activation::none;
  bool residual = false;          ///< x is added, after the activation
  any_view<3> initial_state{};    ///< [N, D, L], L >= W - 1, zeros when absent; a pool with slots
  any_out<3> final_state{};       ///< likewise; may be the initial state's own memory
  any_view<1> initial_slots{};    ///< [N] int32 or int64, entries of a pool; -1 skips the sequence
  any_view<1> final_slots{};      ///< [N]; the initial ones when absent
  any_view<1> state_positions{};  ///< [N] int32 or int64: the states are circular
  conv_varlen varlen{};
};

/// Options of `depthwise_conv1d`. Members are only ever appended.
struct depthwise_conv1d_options {
  any_view<1> bias{};  ///< [D]; zeros when absent
  conv_activation activation = conv_activation::none;
  bool residual = false;   ///< x is added, after the activation
  std::int64_t left = -1;  ///< taps before the output's own token, 0 to W - 1; -1: (W - 1) / 2
  conv_varlen varlen{};
};

SEQMIX_END_NAMESPACE
