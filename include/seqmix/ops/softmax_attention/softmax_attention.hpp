// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Exact softmax attention, without ever holding a T x S matrix.
///
///     s_ij = softcap(scale q_i.k_j) - a_h |i + off - j| + bias_ij + relative_bias_i[i + off - j]
///            for the keys j that row i sees
///     o_i  = sum_j e^(s_ij - LSE_i) v_j,       LSE_i = log(e^(b_h) + sum_j e^(s_ij))
///
/// with cap, slopes a, biases and sink logits b of the options, each absent by default. ALiBi's
/// distance may be one between index vectors, |f_i - g_j| (`alibi_index`), and weights may follow
/// another rule than softmax (`attention_normaliser`).
///
/// Three forms of the call:
///     batched   q [B, T, H, D], k [B, S, HK, D], v [B, S, HK, V], o [B, T, H, V]
///     packed    q [total, H, D], k, v, o likewise, with `options.varlen`
///     cached    q and o as batched, a `kv_view` in place of k and v: contiguous, or paged
///
/// Each also with functors after the output: a score functor (`attention_score`), which changes
/// s_ij, a mask functor (`attention_mask`), which hides pairs, or both in this order. On a GPU such
/// a call is in a .cu file that includes <seqmix/cuda/softmax_attention/functor.cuh>.
///
/// H is a multiple of HK: query head h reads key-value head h / (H / HK). D and V are 1 to 1024 and
/// may differ. Elements are float, double, f16 or bf16, each tensor its own; scores and sums are
/// kept in float, or in double when any tensor is double. Any strides. `o` shares no memory with an
/// input. A `kv_view` may hold int8. Causal and window bounds are bottom-right: `off = S - T`.
///
/// A row that sees no key gets zeros and a log-sum-exp of minus infinity, or of its sink logit. A
/// row's bits depend neither on the other sequences nor on the executor. Non-finite values reach
/// only rows that see them.
///
/// Work: 2 (D + V) operations per visible pair of query and key. Scratch: none that grows with S
/// while queries are many; 2 + V numbers per query row and granule of keys when they are few.
/// Errors: `seqmix::error` for every violated line of this contract, with nothing written.
/// Algorithm: Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
/// IO-Awareness", 2022.
struct softmax_attention_fn : detail::attention_forms<detail::run_call> {
  /// Which implementation the same call would run, and what each other one lacks. Takes the same
  /// arguments; runs nothing; gives a `dispatch_report`.
  static constexpr detail::attention_forms<detail::explain_call> explain{};

  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::attention_forms<detail::measure_call> workspace_bytes{};
};

inline constexpr softmax_attention_fn softmax_attention{};

/// The oracle: the same call, contract and results, computed pair by pair in double. For tests,
/// yours too; its time is that of a plain loop nest.
struct naive_softmax_attention_fn : detail::attention_forms<detail::run_oracle> {};

inline constexpr naive_softmax_attention_fn naive_softmax_attention{};

SEQMIX_END_NAMESPACE
