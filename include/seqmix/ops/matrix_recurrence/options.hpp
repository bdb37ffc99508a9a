// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <seqmix/common/feature_map.hpp>
#include <seqmix/common/time_axis.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Which query and key head a value head reads, when there are more value heads.
enum class head_map {
  grouped,  ///< h = hv / (HV / H)
  tiled,    ///< h = hv % H
};

/// Options of the operators with a matrix state S [K, V] for each sequence and value head. Members
/// are only ever appended; what an operator cannot honour, it refuses.
struct recurrence_options {
  std::optional<double> scale{};  ///< multiplies q; K^-0.5 when absent
  any_view<4> initial_state{};    ///< [N, HV, K, V], zeros when absent; a pool with slots
  any_out<4> final_state{};       ///< likewise; may be the initial state's own memory
  any_view<1> initial_slots{};    ///< [N] int32 or int64, entries of a pool; -1 skips the sequence
  any_view<1> final_slots{};      ///< [N]; the initial ones when absent
  head_map heads = head_map::grouped;
  scan_direction direction = scan_direction::forward;
  bool l2norm = false;       ///< q and k are divided by sqrt(sum of squares + l2norm_eps)
  double l2norm_eps = 1e-6;  ///< above 0, or 0
  recurrence_varlen varlen{};
  any_out<5> checkpoints{};           ///< [N, C, HV, K, V]: the state after n, 2n, ... tokens
  std::int64_t checkpoint_every = 0;  ///< n; C is at least floor(T / n) for the longest sequence
  any_out<5> rollback{};       ///< [N, R, HV, K, V]: entry r is the state r tokens before the last
  any_feature_map features{};  ///< linear attention: what stands for q and k
  bool normalise = false;      ///< linear attention: outputs are divided by q.z + normalise_eps
  double normalise_eps = 1e-6;
  any_view<3> initial_normaliser{};  ///< z [N, HV, F], the sum of all k so far; zeros when absent
  any_out<3> final_normaliser{};     ///< likewise; may be the initial one's own memory
  std::optional<any_feature_map> key_features{};  ///< of k, where it is another map than q's
  bool accumulate = false;     ///< outputs are added to what o holds, rounded to its type
  bool shift_outputs = false;  ///< each output stands at the next token's place, 0 at the first
};

SEQMIX_END_NAMESPACE
