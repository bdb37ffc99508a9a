// SPDX-License-Identifier: Apache-2.0
// A layer's mixer: what it remembers of a sequence, and how new tokens read and change it.
#pragma once

#include <cstddef>
#include <variant>

#include "attention.hpp"
#include "config.hpp"
#include "recurrence.hpp"
#include "state_space.hpp"

using mixer = std::variant<full_attention<float>, full_attention<seqmix::f16>, window_attention,
                           recurrence, state_space>;

/// Room for `capacity` tokens, where a layer remembers all. Throws std::invalid_argument for a
/// choice that the layer cannot honour.
mixer mixer_for(const model_config& config, std::size_t layer, int capacity,
                const attention_choice& choice);

/// What a mixer takes and gives, a row for each new token.
struct mixer_rows {
  matrix q, k, v;          // of attention and of matrix recurrences
  gate_rows gates;         // of matrix recurrences
  state_space_rows space;  // of state-space layers
  matrix out;              // as many columns as the layer's o takes

  /// Room for that many tokens, for the mixers that the model has.
  void resize(const model_config& config, Eigen::Index rows);

  /// Computes what the mixer takes, `count` rows from `first` on, from those of x, [count,
  /// d_model].
  void project(mixer_kind kind, const layer_weights& w, const Eigen::Ref<const matrix>& x,
               Eigen::Index first, Eigen::Index count);
};

/// Adds `rows` tokens to what m remembers, and writes what each of them gets from it. Returns the
/// seconds that it spent in seqmix.
double mix(mixer& m, const model_config& config, const layer_weights& w, Eigen::Index rows,
           mixer_rows& t, const seqmix::context& ctx);
