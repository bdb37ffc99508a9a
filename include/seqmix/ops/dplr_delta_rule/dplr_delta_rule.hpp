// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/dplr_delta_rule/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct dplr_delta_rule_operator {
  static constexpr const char* name = "dplr_delta_rule";
  static constexpr state_decay decay = state_decay::per_key;
  static constexpr state_update update = state_update::general;
  static constexpr int gates = 3;
  template <class Q, class G, class A, class B>
  static constexpr bool takes =
      vector_gates_beside<G, Q> && vectors_beside<A, Q> && vectors_beside<B, Q>;
  template <class Q, class G, class A, class B>
  static void describe(matrix_recurrence_problem& p, const G& g, const A& a, const B& b) {
    describe_gate<Q>(p, g);
    p.a = token_vectors(a);
    p.b = token_vectors(b);
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_gate(c, "[B, T, HV, K]", p, p.key_dim());
    check_token_input(c, "a", "[B, T, HV, K]", p.a, p, p.key_dim(), p.key_dim());
    check_token_input(c, "b", "[B, T, HV, K]", p.b, p, p.key_dim(), p.key_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_dplr_delta_rule<Tag>(p);
  }
};

}  // namespace detail

/// The generalised delta rule with a diagonal plus low-rank transition,
///
///     S_t = (diag(e^(g_t)) + b_t a_t^T) S_(t-1) + k_t v_t^T,   o_t = scale S_t^T q_t
///
///     dplr_delta_rule(q, k, v, g, a, b, o, options, context);
///
/// g, a and b [B, T, HV, K]; g natural logarithms, at most 0, or a gate in another encoding. a
/// reads the state before its decay.
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. Elements are float,
/// double, f16 or bf16, each tensor its own; states and sums are kept in float, in double when q,
/// k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 9 K V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", 2025, of which
/// this is the recurrence.
struct dplr_delta_rule_fn : detail::recurrence_operator<detail::dplr_delta_rule_operator> {};
inline constexpr dplr_delta_rule_fn dplr_delta_rule{};

/// The oracle: the same call, token by token in double.
struct naive_dplr_delta_rule_fn
    : detail::recurrence_forms<detail::run_oracle, detail::dplr_delta_rule_operator> {};
inline constexpr naive_dplr_delta_rule_fn naive_dplr_delta_rule{};

SEQMIX_END_NAMESPACE
