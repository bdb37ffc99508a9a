// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <seqmix/core/context.hpp>
#include <span>
#include <vector>

#include "attention.hpp"
#include "config.hpp"

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using row_vector = Eigen::Matrix<float, 1, Eigen::Dynamic>;

/// Matrices are [out, in], as in the file.
struct layer_weights {
  row_vector attention_norm;
  matrix q, k, v, o;
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

/// One sequence in the making: what is remembered of it, and the scratch that each step reuses.
class session {
 public:
  /// Room for `capacity` tokens; for any number when a window forgets them. A long prompt runs on
  /// the executor. The model, and what the executor refers to, must outlive the session.
  session(const model& m, int capacity, seqmix::executor_ref executor = {},
          attention_choice attention = {});

  /// Appends tokens, a whole prompt or the next one alone, and gives the logits that follow each
  /// of them, [tokens, vocabulary], valid until the next call.
  Eigen::Map<const matrix> append(std::span<const int> tokens);

  /// Begins a new sequence.
  void clear();

  int length() const { return static_cast<int>(length_); }
  int capacity() const { return static_cast<int>(capacity_); }

  /// Memory of the KV caches of all layers.
  std::size_t cache_bytes() const;

  /// Time spent in seqmix since construction.
  double seqmix_seconds() const { return seqmix_seconds_; }

 private:
  void project(const layer_weights& w, Eigen::Index first, Eigen::Index rows);
  void attend(std::size_t layer, Eigen::Index rows);
  void finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows);

  const model& model_;
  seqmix::executor_ref executor_;
  seqmix::context context_;  // of the call that runs
  session_attention attention_;
  std::int64_t capacity_;
  matrix x_, normed_, q_, k_, v_, attended_, gate_, up_, logits_;  // [tokens of one call, ...]
  std::int64_t length_ = 0;
  double seqmix_seconds_ = 0;
};
