// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/gated_linear_attention/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct gated_linear_attention_operator {
  static constexpr const char* name = "gated_linear_attention";
  static constexpr state_decay decay = state_decay::per_key;
  static constexpr state_update update = state_update::none;
  static constexpr int gates = 1;
  template <class Q, class G>
  static constexpr bool takes = vector_gates_beside<G, Q>;
  template <class Q, class G>
  static void describe(matrix_recurrence_problem& p, const G& g) {
    describe_gate<Q>(p, g);
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_gate(c, "[B, T, HV, K]", p, p.key_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_gated_linear_attention<Tag>(p);
  }
};

}  // namespace detail

/// Gated linear attention: every row of the state has a decay of its own,
///
///     S_t = diag(e^(g_t)) S_(t-1) + k_t v_t^T,   o_t = scale S_t^T q_t
///
///     gated_linear_attention(q, k, v, g, o, options, context);
///
/// g [B, T, HV, K], natural logarithms, at most 0; minus infinity forgets the row, whatever it
/// holds, and in all rows is a boundary between sequences. Other encodings are types around the
/// view: `linear_gate`, `raw_gate` and so on.
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. Elements are float,
/// double, f16 or bf16, each tensor its own; states and sums are kept in float, in double when q,
/// k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 5 K V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training",
/// 2024.
struct gated_linear_attention_fn
    : detail::recurrence_operator<detail::gated_linear_attention_operator> {};
inline constexpr gated_linear_attention_fn gated_linear_attention{};

/// The oracle: the same call, token by token in double.
struct naive_gated_linear_attention_fn
    : detail::recurrence_forms<detail::run_oracle, detail::gated_linear_attention_operator> {};
inline constexpr naive_gated_linear_attention_fn naive_gated_linear_attention{};

SEQMIX_END_NAMESPACE
