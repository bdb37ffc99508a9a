// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/kda/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct kda_operator {
  static constexpr const char* name = "kda";
  static constexpr state_decay decay = state_decay::per_key;
  static constexpr state_update update = state_update::delta;
  static constexpr int gates = 2;
  template <class Q, class G, class B>
  static constexpr bool takes = vector_gates_beside<G, Q> && betas_beside<B, Q>;
  template <class Q, class G, class B>
  static void describe(matrix_recurrence_problem& p, const G& g, const B& beta) {
    describe_gate<Q>(p, g);
    describe_beta<Q>(p, beta);
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_gate(c, "[B, T, HV, K]", p, p.key_dim());
    check_token_input(c, "beta", "[B, T, HV], or [B, T, HV, V]", p.beta, p, 1, p.value_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_kda<Tag>(p);
  }
};

}  // namespace detail

/// Kimi delta attention: the gated delta rule with a decay for each row of the state,
///
///     S' = diag(e^(g_t)) S_(t-1),   S_t = S' + k_t (beta_t (v_t - S'^T k_t))^T,   o_t = scale
///     S_t^T q_t
///
///     kda(q, k, v, g, beta, o, options, context);
///
/// g [B, T, HV, K], natural logarithms, at most 0, minus infinity forgets the row; beta [B, T, HV]
/// or [B, T, HV, V]. Both may be encoded otherwise: `linear_gate`, `raw_gate`, `sigmoid_beta` and
/// so on.
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
/// Paper: Kimi Team, "Kimi Linear: An Expressive, Efficient Attention Architecture", 2025.
struct kda_fn : detail::recurrence_operator<detail::kda_operator> {};
inline constexpr kda_fn kda{};

/// The oracle: the same call, token by token in double.
struct naive_kda_fn : detail::recurrence_forms<detail::run_oracle, detail::kda_operator> {};
inline constexpr naive_kda_fn naive_kda{};

SEQMIX_END_NAMESPACE
