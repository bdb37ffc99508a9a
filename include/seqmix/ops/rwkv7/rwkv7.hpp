// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/call_forms.hpp>
#include <seqmix/ops/rwkv7/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct rwkv7_operator {
  static constexpr const char* name = "rwkv7";
  static constexpr state_decay decay = state_decay::per_key;
  static constexpr state_update update = state_update::general;
  static constexpr int gates = 3;
  template <class Q, class G, class R, class A>
  static constexpr bool takes =
      vector_gates_beside<G, Q> && vectors_beside<R, Q> && vectors_beside<A, Q>;
  template <class Q, class G, class R, class A>
  static void describe(matrix_recurrence_problem& p, const G& g, const R& kk, const A& a) {
    describe_gate<Q>(p, g);
    p.a = token_vectors(kk);
    p.b = token_vectors(a);
    p.removal = true;
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_gate(c, "[B, T, HV, K]", p, p.key_dim());
    check_token_input(c, "kk", "[B, T, HV, K]", p.a, p, p.key_dim(), p.key_dim());
    check_token_input(c, "a", "[B, T, HV, K]", p.b, p, p.key_dim(), p.key_dim());
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_rwkv7<Tag>(p);
  }
};

}  // namespace detail

/// RWKV-7: each token removes what the state holds under a removal key kk, by a learned rate a for
/// each channel, while rows decay,
///
///     S_t = (diag(e^(g_t)) - (kk_t a_t) kk_t^T) S_(t-1) + k_t v_t^T,   o_t = scale S_t^T q_t
///
///     rwkv7(q, k, v, g, kk, a, o, options, context);
///
/// g, kk and a [B, T, HV, K]; kk a multiplies element by element, and kk is meant to have norm 1.
/// The usual gate -e^(-1/2) sigmoid(w) is `raw_gate` with a `bounded_activation`, and no condition:
/// g is any number of at most 0, or a gate in another encoding.
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
/// Paper: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", 2025.
struct rwkv7_fn : detail::recurrence_operator<detail::rwkv7_operator> {};
inline constexpr rwkv7_fn rwkv7{};

/// The oracle: the same call, token by token in double.
struct naive_rwkv7_fn : detail::recurrence_forms<detail::run_oracle, detail::rwkv7_operator> {};
inline constexpr naive_rwkv7_fn naive_rwkv7{};

SEQMIX_END_NAMESPACE
