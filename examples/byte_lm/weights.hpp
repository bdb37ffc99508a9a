// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <filesystem>
#include <vector>

#include "config.hpp"

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using row_vector = Eigen::Matrix<float, 1, Eigen::Dynamic>;

/// What a recurrent mixer has beside the projections of attention. Gates have a value for each key
/// channel, through `gate_rank` numbers, or for each head.
struct gate_weights {
  matrix output;             // [H D, d_model]
  row_vector output_norm;    // [D], the same for all heads
  matrix decay_down;         // [rank, d_model]: gla and kda
  matrix decay;              // [H D, rank], or [H, d_model]
  row_vector decay_bias;     // [H D], or [H]
  row_vector negative_rate;  // [H], -e^a: the delta rules
  matrix beta;               // [H, d_model]: the delta rules
};

/// What a state-space mixer has before its last projection, o. I inner channels have N numbers
/// each; mamba2 has H heads of them.
struct state_space_weights {
  matrix in;               // [2 I, d_model], to x and z; mamba2: [2 I + 2 N + H, d_model]
  matrix conv;             // [channels, W]
  row_vector conv_bias;    // [channels]
  matrix select;           // [rank + 2 N, I]: mamba
  matrix steps;            // [I, rank]: mamba
  row_vector step_bias;    // [I], or [H]
  matrix negative_rate;    // [I, N], or [1, H]: -e^a
  row_vector skip;         // [I], or [H]
  row_vector output_norm;  // [I]: mamba2
};

/// Matrices are [out, in], as in the file.
struct layer_weights {
  row_vector attention_norm;
  matrix q, k, v;             // empty in state-space layers
  gate_weights gates;         // of matrix recurrences
  state_space_weights space;  // of state-space layers
  matrix o;
  row_vector mlp_norm;
  matrix gate, up, down;
};

/// A trained model: its configuration and its weights, converted from bf16 to fp32.
struct model {
  /// Throws std::runtime_error, which names the file and the reason.
  explicit model(const std::filesystem::path& weights);

  model_config config;
  matrix embedding;  // [vocabulary, d_model]
  std::vector<layer_weights> layers;
  row_vector final_norm;
  matrix head;  // [vocabulary, d_model]
};
