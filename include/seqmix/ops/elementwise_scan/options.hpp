// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/time_axis.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What a scan combines its elements with.
enum class scan_monoid {
  affine,          ///< h = a h + b
  affine_complex,  ///< the same in complex numbers
  log_sum_exp,     ///< h = log(e^h + e^x), kept as a maximum and a sum
  max,             ///< h = max(h, x)
  sum,             ///< h = h + x
};

/// How a minimal GRU takes its candidates h~.
enum class min_gru_form {
  linear,  ///< as they are
  log,     ///< by g(x) = x + 1/2 for x >= 0, else 1 / (1 + e^-x): positive, as its logarithms need
};

/// Options of the scans over time: `elementwise_scan` and its named forms. Members are only ever
/// appended; what an operator cannot honour, it refuses.
struct scan_options {
  scan_monoid monoid = scan_monoid::affine;  ///< `elementwise_scan` only
  bool exclusive = false;       ///< output t is the state before token t: `elementwise_scan` only
  any_view<3> initial_state{};  ///< [N, D, S], the neutral element when absent; a pool with slots
  any_out<3> final_state{};     ///< likewise; may be the initial state's own memory
  any_view<1> initial_slots{};  ///< [N] int32 or int64, entries of a pool; -1 skips the sequence
  any_view<1> final_slots{};    ///< [N]; the initial ones when absent
  scan_direction direction = scan_direction::forward;
  recurrence_varlen varlen{};
  bool tied = true;                                ///< `hgrn` only: x is weighed by 1 - e^g
  double sharpness = 8;                            ///< `rg_lru` only: c
  min_gru_form candidates = min_gru_form::linear;  ///< `min_gru` only
  any_view<1> skip{};       ///< `diagonal_ssm` only: [D], the input's own weight; zeros when absent
  any_view<1> step{};       ///< `diagonal_ssm` only: [D], steps of a continuous system
  bool accumulate = false;  ///< outputs are added to what o holds, and rounded to its type
};

SEQMIX_END_NAMESPACE
