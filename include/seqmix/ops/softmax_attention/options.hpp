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

/// From the scores s_ij of the n_i keys that row i sees to their weights p_ij; o_i = sum_j p_ij
/// v_j.
enum class attention_weights {
  softmax,   ///< e^s_ij / sum_j e^s_ij
  sigmoid,   ///< 1 / (1 + e^-(s_ij + shift))
  softplus,  ///< a_ij / sum_j a_ij with a_ij = log(1 + e^s_ij); see `sharpen`
  relu,      ///< max(s_ij, 0), over n_i with `mean`
  none,      ///< s_ij, over n_i with `mean`
};

struct attention_normaliser {
  attention_weights weights = attention_weights::softmax;
  double shift = 0;  ///< sigmoid: added to every score, about -log S
  /// softplus: p > 0 re-weights, r_ij = max(n_i p_ij - 1, 0)^p, divided by sum_j r_ij; without the
  /// -1 for the first three places. Rows in which n_i p_ij is nowhere above 1 + 2^-10 stay as they
  /// are. Takes a second pass over the keys.
  int sharpen = 0;
  bool mean = false;  ///< relu and none: weights are divided by n_i
};

/// How the query heads that share a key-value head become one.
enum class group_reduction { mean, max };

/// What a cache policy learns about the keys. The score of a key is the softmax weight it gets,
/// summed over the query rows. On the axis of heads both have H entries, scores of query heads, or
/// HK, those of a group reduced.
struct attention_key_outputs {
  any_out<3> scores{};  ///< [B, H or HK, S], packed [1, H or HK, total keys], f32 or f64
  any_out<3> top{};     ///< [B, H or HK, n] int32 or int64: the keys of the n largest scores, the
                        ///< largest first, ties by index; -1 behind the last with any weight
  group_reduction across_group = group_reduction::mean;
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
  attention_normaliser normaliser{};    ///< softmax unless given
  bool log_length = false;              ///< scores are also multiplied by log n_i, before softcap
  attention_key_outputs key_outputs{};  ///< side outputs for cache policies
  alibi_index alibi{};                  ///< slopes are of |f_i - g_j| instead
  relative_bias_table relative_bias{};  ///< added to the scores by distance, beside `bias`
};

SEQMIX_END_NAMESPACE
