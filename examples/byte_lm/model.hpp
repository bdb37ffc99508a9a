// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <seqmix/core/context.hpp>
#include <span>
#include <vector>

#include "attention.hpp"
#include "config.hpp"
#include "mixers.hpp"
#include "weights.hpp"

/// One sequence in the making: what is remembered of it, and the scratch that each step reuses.
class session {
 public:
  /// Room for `capacity` tokens; for any number when no layer remembers all. A long prompt runs on
  /// the executor. The model, and what the executor refers to, must outlive the session.
  session(const model& m, int capacity, seqmix::executor_ref executor = {},
          attention_choice attention = {});

  /// Appends tokens, a whole prompt or the next one alone, and gives the logits that follow each
  /// of them, [tokens, vocabulary], valid until the next call.
  Eigen::Map<const matrix> append(std::span<const int> tokens);

  /// Begins a new sequence.
  void clear();

  int length() const { return static_cast<int>(length_); }

  /// Memory of all layers' KV caches and states.
  std::size_t cache_bytes() const;

  /// Time spent in seqmix since construction.
  double seqmix_seconds() const { return seqmix_seconds_; }

 private:
  void project(std::size_t layer, Eigen::Index first, Eigen::Index rows);
  void finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows);

  const model& model_;
  seqmix::executor_ref executor_;
  seqmix::context context_;    // of the call that runs
  std::vector<mixer> mixers_;  // one for each layer
  std::int64_t capacity_;
  matrix x_, normed_, gate_, up_, logits_;  // [tokens of one call, ...]
  mixer_rows mixed_;
  std::int64_t length_ = 0;
  double seqmix_seconds_ = 0;
};
