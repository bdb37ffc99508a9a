// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/call_forms.hpp>
#include <seqmix/ops/retention/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct retention_operator {
  static constexpr const char* name = "retention";
  static constexpr state_decay decay = state_decay::scalar;
  static constexpr state_update update = state_update::none;
  static constexpr int gates = 0;
  template <class Q>
  static void describe(matrix_recurrence_problem& p) {
    p.retention = true;
  }
  template <class Tag>
  static void check(contract<Tag>& /*c*/, const matrix_recurrence_problem& /*p*/) {}
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_retention<Tag>(p);
  }
};

}  // namespace detail

/// Retention: linear attention in which head h forgets by a constant factor for each token,
///
///     S_t = gamma_h S_(t-1) + k_t v_t^T,   o_t = scale S_t^T q_t,   gamma_h = 1 - 2^(-5 - h)
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. h counts value heads.
/// Elements are float, double, f16 or bf16, each tensor its own; states and sums are kept in float,
/// in double when q, k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 5 K V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models",
/// 2023.
struct retention_fn : detail::recurrence_operator<detail::retention_operator> {};
inline constexpr retention_fn retention{};

/// The oracle: the same call, token by token in double.
struct naive_retention_fn
    : detail::recurrence_forms<detail::run_oracle, detail::retention_operator> {};
inline constexpr naive_retention_fn naive_retention{};

SEQMIX_END_NAMESPACE
