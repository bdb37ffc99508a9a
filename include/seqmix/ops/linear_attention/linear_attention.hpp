// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/linear_attention/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct linear_attention_operator {
  static constexpr const char* name = "linear_attention";
  static constexpr state_decay decay = state_decay::none;
  static constexpr state_update update = state_update::none;
  static constexpr int gates = 0;
  template <class Q>
  static void describe(matrix_recurrence_problem& /*p*/) {}
  template <class Tag>
  static void check(contract<Tag>& /*c*/, const matrix_recurrence_problem& /*p*/) {}
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_linear_attention<Tag>(p);
  }
};

}  // namespace detail

/// Causal linear attention:
///
///     S_t = S_(t-1) + f(k_t) v_t^T,   o_t = scale S_t^T f(q_t)
///
/// with a feature map f, `options.features`, the identity unless given: an enumerator of
/// `feature_map`, or a struct of parameters such as `hedgehog_features`. A map that makes F
/// features of K elements has states [N, HV, F, V] and z [N, HV, F]; F = `feature_count(map, K)` is
/// at most 512. `options.key_features` is another map for k, with as many features. With
/// `options.normalise` the output is divided by `scale z_t . f(q_t) + normalise_eps`, where z_t is
/// the sum of f(k) up to token t; `initial_normaliser` and `final_normaliser` carry z. Signed
/// features can make the denominator vanish: nothing is clamped.
///
/// q and k [B, T, H, K], v and o [B, T, HV, V], or packed [total, ...] with `options.varlen`; HV is
/// a multiple of H (`options.heads`), K and V are 1 to 512 and may differ. Elements are float,
/// double, f16 or bf16, each tensor its own; states and sums are kept in float, in double when q,
/// k, v or o is double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [N, HV, K, V] carry the state; V-first states
/// are a choice of strides. Prefill and then single tokens equal one pass up to rounding.
///
/// Work: 4 F V operations for each token and value head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with
/// Linear Attention", 2020.
struct linear_attention_fn : detail::recurrence_operator<detail::linear_attention_operator> {};
inline constexpr linear_attention_fn linear_attention{};

/// The oracle: the same call, token by token in double.
struct naive_linear_attention_fn
    : detail::recurrence_forms<detail::run_oracle, detail::linear_attention_operator> {};
inline constexpr naive_linear_attention_fn naive_linear_attention{};

SEQMIX_END_NAMESPACE
