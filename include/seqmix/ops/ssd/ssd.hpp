// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/ssd/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

/// The state-space dual of Mamba-2: a state S [N, P] for each head decays by one factor a token,
///
///     dt = clamp(softplus(dt_t + dt_bias))                 (softplus by option)
///     S_t = e^(A dt) S_(t-1) + B_t (dt x_t)^T,   o_t = (S_t^T C_t + D x_t) silu(z_t)
///
///     seqmix::ssd(x, dt, A, B, C, o, {.D = d, .z = z, .dt_bias = bias, .dt_softplus = true});
///
/// x and o [B, T, H, P], dt [B, T, H], A [H] (below 0 for a state that decays), B and C
/// [B, T, G, N], or packed [total, ...] with `options.varlen`; H is a multiple of the groups G
/// (`options.groups`), N and P are 1 to 512. Elements are float, double, f16 or bf16, each tensor
/// its own; states and sums are kept in float, in double when x, B, C or o is double; steps and
/// decays are computed in double. Any strides. `o` shares no memory with an input.
///
/// `options.initial_state` and `options.final_state` [NS, H, N, P] carry the state; the other order
/// of its last two axes is a choice of strides. Prefill and then single tokens equal one pass up to
/// rounding. A factor of 0 begins anew, whatever the state held.
///
/// Work: 5 N P operations for each token and head; memory does not grow with T. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written.
/// Paper: Dao and Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through
/// Structured State Space Duality", 2024.
struct ssd_fn : detail::ssd_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::ssd_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::ssd_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr ssd_fn ssd{};

/// The oracle: the same call, token by token in double.
struct naive_ssd_fn : detail::ssd_forms<detail::run_oracle> {};
inline constexpr naive_ssd_fn naive_ssd{};

SEQMIX_END_NAMESPACE
