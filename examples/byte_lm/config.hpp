// SPDX-License-Identifier: Apache-2.0
#pragma once

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
};
