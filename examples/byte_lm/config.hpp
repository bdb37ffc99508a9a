// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

/// What carries information from token to token in a layer.
enum class mixer_kind { softmax, gla, gated_delta_net, kda };

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

  bool all_softmax() const {
    return std::all_of(mixers.begin(), mixers.end(),
                       [](mixer_kind m) { return m == mixer_kind::softmax; });
  }

  /// Whether what is remembered of a sequence grows with it.
  bool grows() const {
    return window == 0 && std::any_of(mixers.begin(), mixers.end(),
                                      [](mixer_kind m) { return m == mixer_kind::softmax; });
  }
};
