// SPDX-License-Identifier: Apache-2.0
// Mixers with a matrix state: gated linear attention, gated delta rule, Kimi delta attention.
#pragma once

#include <cstddef>
#include <vector>

#include "attention.hpp"
#include "config.hpp"
#include "weights.hpp"

/// The gates of new tokens, a row for each.
struct gate_rows {
  matrix low_rank;  // [T, rank], on the way to a decay for each key channel
  matrix decay;     // [T, H D] or [T, H], natural logarithms
  matrix beta;      // [T, H]
  matrix output;    // [T, H D], before its SiLU

  /// Room for that many tokens, for the mixers that the model has.
  void resize(const model_config& config, Eigen::Index rows);

  /// Computes `count` rows from `first` on, from those of x, [count, d_model].
  void project(mixer_kind kind, const gate_weights& w, const Eigen::Ref<const matrix>& x,
               Eigen::Index first, Eigen::Index count);
};

/// One layer's recurrence, and its state.
class recurrence {
 public:
  recurrence(const model_config& config, mixer_kind kind);

  /// Mixes the tokens of t into the state and reads their outputs, which are normalised and gated.
  void attend(const attention_rows& t, const gate_rows& gates, const gate_weights& w,
              const seqmix::context& ctx);
  void clear();
  std::size_t bytes() const { return state_.size() * sizeof(float); }

 private:
  mixer_kind kind_;
  int heads_;
  int head_dim_;
  float norm_eps_;
  std::vector<float> state_;  // [1, H, D, D]
};
