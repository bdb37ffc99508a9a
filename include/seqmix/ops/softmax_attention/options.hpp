// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

/// A window bound that does not bound. A value of its own, not a large number.
inline constexpr std::int64_t unbounded = -1;

/// Key j is inside the window of query i when `i + off - left <= j <= i + off + right`, where
/// `off = keys - queries` aligns the last query with the last key.
struct attention_window {
  std::int64_t left = unbounded;
  std::int64_t right = unbounded;
};

/// Packed sequences. Offsets are int32 or int64, one more than there are sequences, starting at 0.
struct varlen_options {
  any_view<1> q_offsets{};  ///< [N + 1] into q's and o's first axis
  any_view<1> k_offsets{};  ///< [N + 1] into k's and v's first axis
  any_view<1> k_lengths{};  ///< [N] keys used of each sequence; all when not given
  std::int64_t max_q = 0;   ///< longest query sequence; needed when the offsets are on a device
  std::int64_t max_k = 0;   ///< longest key sequence; likewise
};

/// Indexes between which ALiBi measures distance in place of rows, integer or real: the frame of a
/// token, say. Both or none. The distance |f_i - g_j| is taken in 64 bits and then rounded, so that
/// large indexes lose nothing. The published form slope (g_j - f_i) is the same wherever indexes do
/// not fall and the mask is causal.
struct alibi_index {
  any_view<2> query{};  ///< f [B, T], packed [1, total]; a batch extent of 1 repeats
  any_view<2> key{};    ///< g [B, S], packed [1, total], paged [B, longest length] or longer

  /// Whether either side was given: an empty vector counts, by its type.
  constexpr bool given() const noexcept {
    return query.type != scalar_type::none || key.type != scalar_type::none;
  }
};

/// A bias by distance: key j of query i gets values[b, h, i, clamp(i + off - j + origin, 0, R -
/// 1)]. Later keys have earlier entries; distances beyond the table get its first or last entry.
struct relative_bias_table {
  any_view<4> values{};     ///< [B, H, T, R], repeated and packed as `bias` is, but for R
  std::int64_t origin = 0;  ///< the entry of distance 0; (R - 1) / 2 in a table of both directions

  constexpr bool given() const noexcept { return values.type != scalar_type::none; }
};

/// Options of `softmax_attention`. Members are only ever appended. Scores are scaled, capped, and
/// then biased; masks come after that.
struct softmax_attention_options {
  std::optional<double> scale{};  ///< multiplies q.k; D^-0.5 when absent
  bool causal = false;            ///< key j is visible when `j <= i + off`
  attention_window window{};      ///< intersected with `causal`
  std::int64_t sink_tokens = 0;   ///< the first keys, visible outside the window too
  any_view<1> sink_logits{};      ///< [H], one more logit per head in the denominator
  double softcap = 0;             ///< c > 0: scores become c tanh(s / c)
  any_view<1> alibi_slopes{};     ///< [H], subtracts slope |i + off - j|
  any_view<4> bias{};             ///< [B, H, T, S], added to the scores; extents of 1 repeat
  any_out<3> lse{};               ///< [B, H, T], packed [1, H, total]: natural log-sum-exp
  varlen_options varlen{};
  alibi_index alibi{};                  ///< slopes are of |f_i - g_j| instead
  relative_bias_table relative_bias{};  ///< added to the scores by distance, beside `bias`
};

SEQMIX_END_NAMESPACE
