// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/delta_rule/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct delta_rule_operator {
  static constexpr const char* name = "delta_rule";
  static constexpr state_decay decay = state_decay::none;
  static constexpr state_update update = state_update::delta;
  static constexpr int gates = 1;
  template <class Q, class B>
  static constexpr bool takes = betas_beside<B, Q>;
  template <class Q, class B>
  static void describe(matrix_recurrence_problem& p, const B& beta) {
    describe_beta<Q>(p, beta);
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_token_input(c, "beta", "[B, T, HV], or [B, T, HV, V]", p.beta, p, 1, p.value_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_delta_rule<Tag>(p);
  }
};

}  // namespace detail

/// The delta rule: what the state holds under a key is replaced, by the share beta,
///
///     S_t = S_(t-1) + k_t (beta_t (v_t - S_(t-1)^T k_t))^T,   o_t = scale S_t^T q_t
///
///     delta_rule(q, k, v, beta, o, options, context);
///
/// beta [B, T, HV], or [B, T, HV, V] with one for each value; any number, 0 to 2 where keys have
/// norm 1 (`options.l2norm` sees to that). `sigmoid_beta` and `doubled_sigmoid_beta` take numbers
/// before their sigmoid.
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. Elements are float,
/// double, f16 or bf16, each tensor its own; states and sums are kept in float, in double when q,
/// k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 6 K V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence
/// Length", 2024.
struct delta_rule_fn : detail::recurrence_operator<detail::delta_rule_operator> {};
inline constexpr delta_rule_fn delta_rule{};

/// The oracle: the same call, token by token in double.
struct naive_delta_rule_fn
    : detail::recurrence_forms<detail::run_oracle, detail::delta_rule_operator> {};
inline constexpr naive_delta_rule_fn naive_delta_rule{};

SEQMIX_END_NAMESPACE
