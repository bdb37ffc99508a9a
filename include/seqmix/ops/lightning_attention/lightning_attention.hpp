// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/lightning_attention/naive.hpp>
#include <seqmix/ops/matrix_recurrence/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct lightning_attention_operator {
  static constexpr const char* name = "lightning_attention";
  static constexpr state_decay decay = state_decay::scalar;
  static constexpr state_update update = state_update::none;
  static constexpr int gates = 1;
  template <class Q, class S>
  static constexpr bool takes = view_of<S, 1>;
  template <class Q, class S>
  static void describe(matrix_recurrence_problem& p, const S& slopes) {
    p.gate = head_numbers(slopes, p);
    p.gate_factor = -1;
  }
  template <class Tag>
  static void check(contract<Tag>& c, const matrix_recurrence_problem& p) {
    check_token_input(c, "slopes", "[HV]", p.gate, p, 1, 1);
  }
  template <class Tag>
  static void naive(const matrix_recurrence_problem& p) {
    naive_lightning_attention<Tag>(p);
  }
};

}  // namespace detail

/// The slope of head h of H in layer l of L, of the published schedule 8 h / H (1 - l / L): the
/// first head does not forget.
SEQMIX_ALWAYS_INLINE double lightning_slope(std::int64_t head, std::int64_t heads,
                                            std::int64_t layer, std::int64_t layers) noexcept {
  return 8 * static_cast<double>(head) / static_cast<double>(heads) *
         (1 - static_cast<double>(layer) / static_cast<double>(layers));
}

/// Lightning attention: linear attention in which each head forgets by a constant factor that is an
/// input,
///
///     S_t = e^(-s_h) S_(t-1) + k_t v_t^T,   o_t = scale S_t^T q_t
///
///     lightning_attention(q, k, v, slopes, o, options, context);
///
/// with slopes s [HV], at least 0. Published schedules: `lightning_slope`, and `alibi_slope` times
/// (1 - l / (L - 1) + 1e-5) in layer l of L.
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
/// Paper: Qin et al., "Lightning Attention-2: A Free Lunch for Handling Unlimited Sequence Lengths
/// in Large Language Models", 2024.
struct lightning_attention_fn : detail::recurrence_operator<detail::lightning_attention_operator> {
};
inline constexpr lightning_attention_fn lightning_attention{};

/// The oracle: the same call, token by token in double.
struct naive_lightning_attention_fn
    : detail::recurrence_forms<detail::run_oracle, detail::lightning_attention_operator> {};
inline constexpr naive_lightning_attention_fn naive_lightning_attention{};

SEQMIX_END_NAMESPACE
