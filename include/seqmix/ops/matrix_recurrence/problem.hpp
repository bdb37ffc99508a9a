// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/sequence.hpp>
#include <seqmix/ops/matrix_recurrence/gate_views.hpp>
#include <seqmix/ops/matrix_recurrence/options.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What multiplies the state before a token is written.
enum class state_decay {
  none,
  scalar,   ///< one factor for each value head, or for each token and value head
  per_key,  ///< one for each row of the state
};

/// What a token adds to the state beside k v^T.
enum class state_update {
  none,
  delta,    ///< k (beta (v - S^T k))^T on the decayed state, in place of k v^T
  general,  ///< b (a^T S)^T, which reads the state before its decay
};

/// Time steps of a state-space model, in place of a gate's logarithms x: a token's step is
/// dt = softplus(x + bias), or x + bias, within limits. It multiplies the token's value, and
/// e^(rate dt) the state.
struct time_steps {
  bool given = false;
  head_parameter rate{};
  head_parameter bias{};
  bool softplus = false;
  double least = 0;
  double most = 0;
};

/// The descriptor of one call of an operator with a matrix state:
///
///     S_t = D_t S_(t-1) + update + k_t v_t^T,   o_t = scale S_t^T q_t
///
/// Packed sequences appear with a batch axis of extent 1. What does not change along an axis has
/// stride 0 there.
struct matrix_recurrence_problem {
  static constexpr const char* operator_name = "matrix_recurrence";

  any_view<4> q;           // [B, T, H, K]
  any_view<4> k;           // [B, T, H, K]
  any_view<4> v;           // [B, T, HV, V]
  any_out<4> o;            // [B, T, HV, V]
  any_view<4> gate;        // [B, T, HV, 1 or K]
  gate_form gates;         // what they say of the decay
  double gate_factor = 1;  // of logarithms
  time_steps steps;        // in place of `gates`
  bool retention = false;  // there is no gate: the decay of head h is 1 - 2^(-5 - h)
  any_view<4> beta;        // [B, T, HV, 1 or V], of delta
  beta_encoding betas = beta_encoding::plain;
  any_view<4> a;         // [B, T, HV, K], of general
  any_view<4> b;         // [B, T, HV, K], of general
  bool removal = false;  // of general: -a and a b stand for a and b
  state_decay decay = state_decay::none;
  state_update update = state_update::none;

  any_view<4> initial_state;  // [N or pool, HV, K, V]
  any_out<4> final_state;
  any_view<1> initial_slots;
  any_view<1> final_slots;

  bool packed = false;
  std::int64_t sequences = 0;
  any_view<1> offsets;  // [sequences + 1], packed only
  std::int64_t max_t = 0;

  any_out<5> checkpoints;
  std::int64_t checkpoint_every = 0;
  any_out<5> rollback;
  any_feature_map features;      // of q
  any_feature_map key_features;  // of k
  std::int64_t feature_dim = 0;  // K of the state, when there is a map; else that of q
  bool normalise = false;
  double normalise_eps = 0;
  any_view<3> initial_normaliser;
  any_out<3> final_normaliser;

  // What becomes of an output o: ((o or 0, + what is there) + (skip + token_skip) v) silu(z).
  bool accumulate = false;
  bool shift_outputs = false;
  any_view<4> skip;        // [B, T, HV, 1 or V]
  any_view<4> token_skip;  // [B, T, HV, 1]
  any_view<4> z;           // [B, T, HV, V]

  double scale = 1;
  head_map heads = head_map::grouped;
  scan_direction direction = scan_direction::forward;
  bool l2norm = false;
  double l2norm_eps = 0;

  constexpr std::int64_t key_heads() const noexcept { return q.extents[2]; }
  constexpr std::int64_t value_heads() const noexcept { return v.extents[2]; }
  /// Rows of the state, and elements of a prepared key.
  constexpr std::int64_t key_dim() const noexcept {
    return feature_dim > 0 ? feature_dim : q.extents[3];
  }
  constexpr bool has_features() const noexcept { return feature_dim > 0; }
  /// Outputs are more than what the state is read as.
  constexpr bool finishes_outputs() const noexcept {
    return accumulate || shift_outputs || skip.given() || token_skip.given() || z.given();
  }
  constexpr std::int64_t value_dim() const noexcept { return v.extents[3]; }
  /// The query and key head of a value head.
  constexpr std::int64_t key_head(std::int64_t hv) const noexcept {
    return heads == head_map::tiled ? hv % key_heads() : hv / (value_heads() / key_heads());
  }
};

namespace detail {

/// Where one sequence's tokens lie, and its states.
struct recurrence_sequence : sequence_place {
  /// How many of the tokens from `first` on can run, at most `most`, before a state is kept.
  SEQMIX_ALWAYS_INLINE std::int64_t run_length(const matrix_recurrence_problem& p,
                                               std::int64_t first,
                                               std::int64_t most) const noexcept {
    std::int64_t stop = first + most < tokens ? first + most : tokens;
    if (p.checkpoints.given()) {
      const std::int64_t next = (first / p.checkpoint_every + 1) * p.checkpoint_every;
      stop = next < stop ? next : stop;
    }
    if (p.rollback.given()) {
      const std::int64_t kept = tokens - p.rollback.extents[1] + 1;  // tokens of the oldest entry
      const std::int64_t next = kept > first ? kept : first + 1;
      stop = next < stop ? next : stop;
    }
    return stop - first;
  }
};

SEQMIX_ALWAYS_INLINE recurrence_sequence recurrence_sequence_at(const matrix_recurrence_problem& p,
                                                                std::int64_t n) noexcept {
  return {sequence_place_at(p, n, p.q.extents[1], p.direction == scan_direction::reverse)};
}

}  // namespace detail

SEQMIX_END_NAMESPACE
