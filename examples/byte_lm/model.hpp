// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <seqmix/core/context.hpp>
#include <span>
#include <vector>

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using row_vector = Eigen::Matrix<float, 1, Eigen::Dynamic>;

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

/// One sequence in the making: a KV cache, and the scratch that each step reuses.
class session {
 public:
  /// Room for `capacity` tokens. A long prompt runs on the executor. The model, and what the
  /// executor refers to, must outlive the session.
  session(const model& m, int capacity, seqmix::executor_ref executor = {});

  /// Appends tokens, a whole prompt or the next one alone, and gives the logits that follow each
  /// of them, [tokens, vocabulary], valid until the next call.
  Eigen::Map<const matrix> append(std::span<const int> tokens);

  /// Begins a new sequence.
  void clear() { length_ = 0; }

  int length() const { return static_cast<int>(length_); }
  int capacity() const { return static_cast<int>(k_cache_.front().rows()); }

  /// Time spent in seqmix since construction.
  double seqmix_seconds() const { return seqmix_seconds_; }

 private:
  void project(const layer_weights& w, matrix& v_cache, Eigen::Index first, Eigen::Index rows);
  void attend(matrix& k_cache, const matrix& v_cache, Eigen::Index rows);
  void finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows);

  const model& model_;
  seqmix::executor_ref executor_;
  seqmix::context context_;                                    // of the call that runs
  std::vector<matrix> k_cache_, v_cache_;                      // [capacity, kv_heads * head_dim]
  matrix x_, normed_, q_, k_, attended_, gate_, up_, logits_;  // [tokens of one call, ...]
  std::int64_t length_ = 0;
  double seqmix_seconds_ = 0;
};
