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

/// Matrices are [out, in], as in the file.
struct layer_weights {
  row_vector attention_norm;
  matrix q, k, v, o;
  gate_weights gates;  // empty in softmax layers
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
