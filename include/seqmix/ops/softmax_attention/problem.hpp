// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/any_view.hpp>
#include <seqmix/dispatch/feature_set.hpp>
#include <seqmix/ops/softmax_attention/options.hpp>
#include <seqmix/ops/softmax_attention/visibility.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What a call of softmax_attention can ask of an implementation.
enum class softmax_attention_feature {
  causal,
  window,
  sink_tokens,
  grouped_heads,
  unequal_dims,
  varlen,
  key_lengths,
  lse,
  f64,
  f16,
  bf16,
  mixed_types,
  sink_logits,
  softcap,
  alibi_slopes,
  bias,
  score_functor,
  mask_functor,
  paged,
  normaliser,
  log_length,
  key_outputs,
  alibi_index,
  relative_bias,
  quantised_kv,
};

constexpr const char* name(softmax_attention_feature f) noexcept {
  constexpr const char* names[] = {"causal",
                                   "window",
                                   "sink_tokens",
                                   "grouped_heads (H != HK)",
                                   "unequal_dims (V != D)",
                                   "varlen",
                                   "key_lengths",
                                   "lse",
                                   "f64",
                                   "f16",
                                   "bf16",
                                   "mixed_types",
                                   "sink_logits",
                                   "softcap",
                                   "alibi_slopes",
                                   "bias",
                                   "score_functor",
                                   "mask_functor",
                                   "paged (a block table)",
                                   "normaliser (other than softmax)",
                                   "log_length",
                                   "key_outputs",
                                   "alibi (indexes to measure distance between)",
                                   "relative_bias",
                                   "quantised_kv (int8 keys or values)"};
  return names[static_cast<int>(f)];
}

/// The descriptor of one call: plain data, what every implementation and back-end reads. Packed
/// sequences appear with a batch axis of extent 1.
struct softmax_attention_problem {
  static constexpr const char* operator_name = "softmax_attention";

  any_view<4> q;   // [B, T, H, D]     packed: [1, total, H, D]
  any_view<4> k;   // [B, S, HK, D]    packed: [1, total, HK, D]    paged: [pages, page, HK, D]
  any_view<4> v;   // [B, S, HK, V], likewise
  any_out<4> o;    // [B, T, H, V]
  any_out<3> lse;  // [B, H, T]        not given: not wanted

  bool packed = false;
  std::int64_t sequences = 0;
  any_view<1> q_offsets;    // [sequences + 1], packed only
  any_view<1> k_offsets;    // [sequences + 1], packed only
  any_view<1> k_lengths;    // [sequences]; not given: every key counts, never so when paged
  any_view<2> block_table;  // [sequences, most pages], paged only
  std::int64_t page = 0;    // keys in a page, paged only
  any_view<3> k_scale;      // as k without D; of int8 keys only
  any_view<3> v_scale;      // as v without V; of int8 values only
  std::int64_t max_q = 0;
  std::int64_t max_k = 0;

  double scale = 1;
  bool causal = false;
  attention_window window;
  std::int64_t sink_tokens = 0;
  any_view<1> sink_logits;            // [H]; not given: none
  double softcap = 0;                 // 0: none
  any_view<1> alibi_slopes;           // [H]; not given: none
  any_view<4> bias;                   // [B, H, T, S], packed [sequences, H, longest q, longest k]
  alibi_index alibi;                  // [B, T], [B, S]; not given: distance in rows
  relative_bias_table relative_bias;  // [B, H, T, R], packed as bias is; not given: none
  attention_normaliser normaliser;
  bool log_length = false;
  attention_key_outputs key_outputs;
  any_out<3> row_lse;  // the library's own log-sum-exps, f64, when key outputs need them
  // The caller's functors, whose types the implementation knows.
  const void* score = nullptr;
  const void* mask = nullptr;

  dispatch::feature_set<softmax_attention_feature> required;

  /// By the table's type: of no sequences, or of no pages, it has no data.
  constexpr bool paged() const noexcept { return block_table.type != scalar_type::none; }
  /// Keys that a sequence which is not packed has room for.
  constexpr std::int64_t key_capacity() const noexcept {
    return paged() ? block_table.extents[1] * page : k.extents[1];
  }
  constexpr bool wants_keys() const noexcept {
    return key_outputs.scores.given() || key_outputs.top.given();
  }
  constexpr std::int64_t heads() const noexcept { return q.extents[2]; }
  constexpr std::int64_t kv_heads() const noexcept { return k.extents[2]; }
  constexpr std::int64_t group() const noexcept {
    return kv_heads() == 0 ? 1 : heads() / kv_heads();
  }
  constexpr std::int64_t key_dim() const noexcept { return q.extents[3]; }
  constexpr std::int64_t value_dim() const noexcept { return v.extents[3]; }
};

namespace detail {

/// Where one sequence lies in the tensors, and its mask.
struct attention_sequence {
  std::int64_t batch;    // index on the batch axis
  std::int64_t q_begin;  // first row on the time axis
  std::int64_t k_begin;
  visibility mask;
};

/// Sequence b of a problem whose offsets are on the host.
SEQMIX_ALWAYS_INLINE attention_sequence sequence_at(const softmax_attention_problem& p,
                                                    std::int64_t b) noexcept {
  attention_sequence s{
      b, 0, 0, {p.q.extents[1], p.key_capacity(), p.causal, p.window, p.sink_tokens}};
  if (p.packed) {
    s.batch = 0;
    s.q_begin = index_at(p.q_offsets, b);
    s.k_begin = index_at(p.k_offsets, b);
    s.mask.queries = index_at(p.q_offsets, b + 1) - s.q_begin;
    s.mask.keys = index_at(p.k_offsets, b + 1) - s.k_begin;
  }
  if (p.k_lengths.given()) {
    s.mask.keys = index_at(p.k_lengths, b);
  }
  return s;
}

/// Where a key lies on the first two axes of k and v.
struct key_place {
  std::int64_t outer;  // batch entry or page
  std::int64_t row;
};

/// Key j of a sequence. The table is read for keys within the sequence's length only.
SEQMIX_ALWAYS_INLINE key_place place_of(const softmax_attention_problem& p,
                                        const attention_sequence& s, std::int64_t j) noexcept {
  return p.paged() ? key_place{index_at(p.block_table, s.batch, j / p.page), j % p.page}
                   : key_place{s.batch, s.k_begin + j};
}

}  // namespace detail

SEQMIX_END_NAMESPACE
