// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/gated_delta_rule/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct gated_delta_rule_operator {
  static constexpr const char* name = "gated_delta_rule";
  static constexpr state_decay decay = state_decay::scalar;
  static constexpr state_update update = state_update::delta;
  static constexpr int gates = 2;
  template <class Q, class G, class B>
  static constexpr bool takes = number_gates_beside<G, Q> && betas_beside<B, Q>;
  template <class Q, class G, class B>
  static void describe(matrix_recurrence_problem& p, const G& g, const B& beta) {
    describe_gate<Q>(p, g);
    describe_beta<Q>(p, beta);
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_gate(c, "[B, T, HV]", p, 1);
    check_token_input(c, "beta", "[B, T, HV], or [B, T, HV, V]", p.beta, p, 1, p.value_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_gated_delta_rule<Tag>(p);
  }
};

}  // namespace detail

/// The gated delta rule: the state decays, and then what it holds under a key is replaced,
///
///     S' = e^(g_t) S_(t-1),   S_t = S' + k_t (beta_t (v_t - S'^T k_t))^T,   o_t = scale S_t^T q_t
///
///     gated_delta_rule(q, k, v, g, beta, o, options, context);
///
/// g [B, T, HV], natural logarithms, at most 0; minus infinity is a boundary between sequences.
/// beta [B, T, HV] or [B, T, HV, V], any number, 0 to 2 where keys have norm 1. Both may be encoded
/// otherwise: `linear_gate`, `raw_gate`, `sigmoid_beta` and so on.
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. Elements are float,
/// double, f16 or bf16, each tensor its own; states and sums are kept in float, in double when q,
/// k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 7 K V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Yang et al., "Gated Delta Networks: Improving Mamba2 with Delta Rule", 2025.
struct gated_delta_rule_fn : detail::recurrence_operator<detail::gated_delta_rule_operator> {};
inline constexpr gated_delta_rule_fn gated_delta_rule{};

/// The oracle: the same call, token by token in double.
struct naive_gated_delta_rule_fn
    : detail::recurrence_forms<detail::run_oracle, detail::gated_delta_rule_operator> {};
inline constexpr naive_gated_delta_rule_fn naive_gated_delta_rule{};

SEQMIX_END_NAMESPACE
