// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/core/view_of.hpp>
#include <seqmix/ops/matrix_recurrence/gate_views.hpp>
#include <seqmix/ops/matrix_recurrence/options.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What outputs are multiplied by: [B, T, H, P], or [total, H, P] of packed tensors.
struct ssd_gate : any_view<4> {
  constexpr ssd_gate() = default;

  template <view_of<4> X>
  constexpr ssd_gate(const X& x) noexcept : any_view<4>(x) {}

  template <view_of<3> X>
  constexpr ssd_gate(const X& x) noexcept : any_view<4>(detail::with_batch_axis(x)) {}
};

/// Options of `ssd`. Members are only ever appended.
struct ssd_options {
  head_parameter D{};        ///< skip [H] or [H, P]: D x is added to the output
  ssd_gate z{};              ///< the output is multiplied by z sigmoid(z)
  head_parameter dt_bias{};  ///< [H], added to dt
  bool dt_softplus = false;  ///< dt = log(1 + e^(dt + bias)) instead of dt + bias
  double dt_least = 0;       ///< limits of the step, after softplus
  double dt_most = std::numeric_limits<double>::infinity();
  any_view<4> initial_state{};  ///< [NS, H, N, P], zeros when absent; a pool with slots
  any_out<4> final_state{};     ///< likewise; may be the initial state's own memory
  any_view<1> initial_slots{};  ///< [NS] int32 or int64, entries of a pool; -1 skips the sequence
  any_view<1> final_slots{};    ///< [NS]; the initial ones when absent
  head_map groups = head_map::grouped;  ///< which of the groups of B and C a head reads
  scan_direction direction = scan_direction::forward;
  recurrence_varlen varlen{};
  any_out<5> checkpoints{};           ///< [NS, C, H, N, P]: the state after n, 2n, ... tokens
  std::int64_t checkpoint_every = 0;  ///< n
  any_out<5> rollback{};              ///< [NS, R, H, N, P]: r tokens before the last
  bool accumulate = false;            ///< outputs are added to what o holds, before z
};

SEQMIX_END_NAMESPACE
