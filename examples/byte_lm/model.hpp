// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <seqmix/core/context.hpp>
#include <seqmix/core/scalar.hpp>
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

/// How a session runs its attention; all else is fp32 on the CPU.
struct attention_choice {
  bool half = false;  // queries, keys, values and results in f16, which is what a GPU takes
  seqmix::device_policy device = seqmix::device_policy::cpu;
};

/// One sequence in the making: a KV cache, and the scratch that each step reuses.
class session {
 public:
  /// Room for `capacity` tokens. A long prompt runs on the executor. The model, and what the
  /// executor refers to, must outlive the session.
  session(const model& m, int capacity, seqmix::executor_ref executor = {},
          attention_choice attention = {});

  /// Appends tokens, a whole prompt or the next one alone, and gives the logits that follow each
  /// of them, [tokens, vocabulary], valid until the next call.
  Eigen::Map<const matrix> append(std::span<const int> tokens);

  /// Begins a new sequence.
  void clear() { length_ = 0; }

  int length() const { return static_cast<int>(length_); }
  int capacity() const { return static_cast<int>(capacity_); }

  /// Time spent in seqmix since construction.
  double seqmix_seconds() const { return seqmix_seconds_; }

 private:
  void project(const layer_weights& w, Eigen::Ref<matrix> v, Eigen::Index first, Eigen::Index rows);
  void attend(std::size_t layer, Eigen::Index rows);
  void finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows);

  const model& model_;
  seqmix::executor_ref executor_;
  seqmix::context context_;  // of the call that runs
  attention_choice attention_;
  std::int64_t capacity_;
  std::vector<matrix> k_cache_, v_cache_;                      // [capacity, kv_heads * head_dim]
  matrix x_, normed_, q_, k_, attended_, gate_, up_, logits_;  // [tokens of one call, ...]
  // With f16 attention: its caches, queries and results, and values that are yet to be rounded.
  std::vector<std::vector<seqmix::f16>> half_k_cache_, half_v_cache_;
  std::vector<seqmix::f16> half_q_, half_attended_;
  matrix v_;
  std::int64_t length_ = 0;
  double seqmix_seconds_ = 0;
};
