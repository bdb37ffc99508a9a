// SPDX-License-Identifier: Apache-2.0
// State-space mixers: Mamba, with a diagonal recurrence for each channel, and Mamba-2, with one for
// each head.
#pragma once

#include <cstddef>
#include <seqmix/core/context.hpp>
#include <vector>

#include "config.hpp"
#include "weights.hpp"

/// What new tokens are on their way through a layer, a row for each.
struct state_space_rows {
  matrix projected;  // mamba: x, z; mamba2: z, x, B, C, steps
  matrix convolved;  // mamba: x; mamba2: x, B, C
  matrix selected;   // mamba: low-rank steps, B, C
  matrix steps;      // mamba: of each channel, before bias and softplus

  /// Room for that many tokens, for the mixers that the model has.
  void resize(const model_config& config, Eigen::Index rows);

  /// Computes `projected` from the rows of x, [count, d_model], `count` rows from `first` on.
  void project(const state_space_weights& w, const Eigen::Ref<const matrix>& x, Eigen::Index first,
               Eigen::Index count);
};

/// One layer's convolution and recurrence, and their states.
class state_space {
 public:
  state_space(const model_config& config, mixer_kind kind);

  /// Takes `rows` tokens into the state of the convolution, and computes `convolved`.
  void convolve(const state_space_weights& w, Eigen::Index rows, state_space_rows& t,
                const seqmix::context& ctx);

  /// What a token makes of its own convolved channels: in mamba, its steps, B and C.
  void select(const state_space_weights& w, Eigen::Index first, Eigen::Index count,
              state_space_rows& t) const;

  /// Takes `rows` tokens into the state of the recurrence, and reads their outputs, gated.
  void scan(const state_space_weights& w, Eigen::Index rows, state_space_rows& t, matrix& out,
            const seqmix::context& ctx);

  void clear();
  std::size_t bytes() const { return (inputs_.size() + state_.size()) * sizeof(float); }

 private:
  void scan_channels(const state_space_weights& w, Eigen::Index rows, state_space_rows& t,
                     matrix& out, const seqmix::context& ctx);
  void scan_heads(const state_space_weights& w, Eigen::Index rows, state_space_rows& t, matrix& out,
                  const seqmix::context& ctx);

  mixer_kind kind_;
  Eigen::Index inner_;
  Eigen::Index size_;  // N
  Eigen::Index heads_;
  Eigen::Index channels_;  // of the convolution
  Eigen::Index inputs_kept_;
  float norm_eps_;
  std::vector<float> inputs_;  // [1, channels, W - 1], the last ones
  std::vector<float> state_;   // [1, I, N], or [1, H, N, P]
};
