// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

/// What carries information from token to token in a layer.
enum class mixer_kind { softmax, gla, gated_delta_net, kda, mamba, mamba2 };

constexpr bool is_softmax(mixer_kind m) { return m == mixer_kind::softmax; }

/// Has a state of key by value numbers for each head.
constexpr bool is_matrix_recurrence(mixer_kind m) {
  return m == mixer_kind::gla || m == mixer_kind::gated_delta_net || m == mixer_kind::kda;
}

/// Has a causal convolution, and a state for each of its inner channels.
constexpr bool is_state_space(mixer_kind m) {
  return m == mixer_kind::mamba || m == mixer_kind::mamba2;
}

struct model_config {
  int vocabulary = 0;  // the bytes and BOS
  int bos_token = 0;
  int context_length = 0;
  int layers = 0;
  int d_model = 0;
  int query_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int mlp_hidden = 0;
  double rope_base = 0;
  float norm_eps = 0;
  std::vector<mixer_kind> mixers{};  // of each layer
  int window = 0;                    // tokens that softmax layers see; 0: all
  int gate_rank = 0;                 // of gates with a value for each key channel
  int inner_width = 0;               // channels of state-space layers
  int state_size = 0;                // numbers for each of these channels
  int conv_width = 0;                // taps of their convolution
  int dt_rank = 0;                   // of mamba's time steps

  /// Channels that a state-space layer's convolution takes: mamba2's B and C go through it too.
  int conv_channels(mixer_kind kind) const {
    return inner_width + (kind == mixer_kind::mamba2 ? 2 * state_size : 0);
  }
  /// Heads of a mamba2 layer.
  int inner_heads() const { return inner_width / head_dim; }

  bool any(bool (*of_kind)(mixer_kind)) const {
    return std::any_of(mixers.begin(), mixers.end(), of_kind);
  }
  bool all_softmax() const { return std::all_of(mixers.begin(), mixers.end(), is_softmax); }

  /// Whether what is remembered of a sequence grows with it.
  bool grows() const { return window == 0 && any(is_softmax); }
};
