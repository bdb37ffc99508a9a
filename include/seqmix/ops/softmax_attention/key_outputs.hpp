// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <seqmix/ops/softmax_attention/split_kv.hpp>

// What cache policies ask about the keys: the weight that each one got, and the keys with the most.
// One more pass over the keys, behind the operator itself, with the rows' log-sum-exps.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How many rows of scores a sequence has: one for each query head, or each key-value head.
SEQMIX_ALWAYS_INLINE std::int64_t key_output_heads(const softmax_attention_problem& p) noexcept {
  const attention_key_outputs& out = p.key_outputs;
  return out.scores.given() ? out.scores.extents[1] : out.top.extents[1];
}

/// The longest sequence of keys: what one row of scores has room for.
SEQMIX_ALWAYS_INLINE std::int64_t longest_keys(const softmax_attention_problem& p) noexcept {
  std::int64_t longest = 0;
  for (std::int64_t b = 0; b < p.sequences; ++b) {
    const std::int64_t keys = sequence_at(p, b).mask.keys;
    longest = keys > longest ? keys : longest;
  }
  return longest;
}

/// A worker's scratch.
template <class C, class Arch>
struct key_output_scratch {
  std::int64_t key_width;  // padded key_dim
  C* queries;              // [strip][key_width]
  C* scores;               // [strip][score_stride]
  C* sums;                 // [group][block]
  C* key_rows;             // [block][key_width]
  std::int64_t* best;      // [top]

  key_output_scratch(scratch_layout& layout, const softmax_attention_problem& p) noexcept
      : key_width(round_up(p.key_dim(), simd::lanes<C, Arch>)) {
    constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
    queries = layout.take<C>(strip * key_width);
    scores = layout.take<C>(strip * score_stride);
    sums = layout.take<C>(p.group() * split_kv_block);
    key_rows = layout.take<C>(split_kv_block * key_width);
    best = layout.take<std::int64_t>(p.key_outputs.top.extents[2]);
  }
};

/// The weights that the keys [from, to) get from all query rows of one key-value head, summed over
/// the queries in their order: sums[head of the group][key].
template <class Terms, class C, class Arch, class TQ, class TK, class TV, class TO>
void sum_key_weights(const query_rows<TQ, TK, TV, TO>& rows, std::int64_t from, std::int64_t to,
                     const key_output_scratch<C, Arch>& s) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  const Terms terms(rows.problem);
  const std::int64_t padded = round_up(to - from, w);
  const auto nothing_ahead = [](std::int64_t) {};
  rows.with_rows(
      from, to,
      [&](const auto& keys) {
        copy_rows<C, Arch>(keys, to - from, rows.problem.key_dim(), s.key_width, s.key_rows,
                           nothing_ahead);
      },
      [](const auto&) {});
  for (std::int64_t i = 0; i < rows.group * split_kv_block; ++i) {
    s.sums[i] = C(0);
  }
  for (std::int64_t first = 0; first < rows.count(); first += strip) {
    const std::int64_t count = rows.count() - first < strip ? rows.count() - first : strip;
    const block_cover c =
        with_functor(cover(rows, first, count, from, to), rows, terms, first, count);
    if (c.empty()) {
      continue;
    }
    copy_queries<C, Arch>(rows, terms, first, count, s.key_width, s.queries);
    simd::dot_rows<C, Arch>(s.queries, s.key_width, count, s.key_rows, s.key_width, to - from,
                            s.key_width, s.scores, score_stride, nothing_ahead);
    for (std::int64_t r = first; r < first + count; ++r) {
      C* score = s.scores + (r - first) * score_stride;
      if (terms.any) {
        terms.apply(rows, r, score, from, from + padded);
      }
      const std::int64_t token = rows.sequence.q_begin + r / rows.group;
      const any_out<3>& lse = rows.problem.row_lse;
      const double row_lse = static_cast<const double*>(
          lse.data)[rows.sequence.batch * lse.strides[0] + rows.head_of(r) * lse.strides[1] +
                    token * lse.strides[2]];
      const V reference(softmax_reference(static_cast<C>(row_lse * std::numbers::log2e)));
      C* sum = s.sums + r % rows.group * split_kv_block;
      for (std::int64_t j = 0; j < padded; j += w) {
        simd::exp2<C, Arch>(V::load_aligned(score + j) - reference).store_aligned(score + j);
      }
      // Weights, not scores: a row that is NaN is so only for the keys that it sees.
      hide_unseen<C, Arch>(rows, terms, c, r, score, from, to, from + padded, C(0));
      for (std::int64_t j = 0; j < padded; j += w) {
        (V::load_aligned(sum + j) + V::load_aligned(score + j)).store_aligned(sum + j);
      }
    }
  }
}

/// One block's sums to the rows of scores, [heads][longest], of one sequence.
template <class C, class Arch>
void store_key_weights(const row_geometry& rows, std::int64_t from, std::int64_t to, const C* sums,
                       C* scores, std::int64_t longest) noexcept {
  const attention_key_outputs& out = rows.problem.key_outputs;
  const bool of_query_heads = key_output_heads(rows.problem) == rows.problem.heads();
  for (std::int64_t j = from; j < to; ++j) {
    C all(0);
    for (std::int64_t g = 0; g < rows.group; ++g) {
      const C x = sums[g * split_kv_block + (j - from)];
      if (of_query_heads) {
        scores[(rows.kv_head * rows.group + g) * longest + j] = x;
      } else if (out.across_group == group_reduction::mean) {
        all += x;
      } else {
        all = x > all || x != x ? x : all;
      }
    }
    if (!of_query_heads) {
      const bool mean = out.across_group == group_reduction::mean;
      scores[rows.kv_head * longest + j] = mean ? all / static_cast<C>(rows.group) : all;
    }
  }
}

/// The keys with the largest scores, in falling order, the lower index first where scores are
/// equal; -1 behind the last key that has any weight. NaN counts as none.
template <class C, class Arch>
void select_top(const C* scores, std::int64_t keys, std::int64_t* best, std::int64_t most,
                const any_out<3>& top, std::int64_t sequence, std::int64_t head) noexcept {
  const auto ahead = [scores](std::int64_t a, std::int64_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  };
  // A heap with the least of the best on top.
  std::int64_t count = 0;
  for (std::int64_t j = 0; j < keys && most > 0; ++j) {
    if (!(scores[j] > C(0))) {
      continue;
    }
    if (count == most) {
      if (!ahead(j, best[0])) {
        continue;
      }
      std::pop_heap(best, best + count--, ahead);
    }
    best[count++] = j;
    std::push_heap(best, best + count, ahead);
  }
  std::sort_heap(best, best + count, ahead);
  for (std::int64_t n = 0; n < most; ++n) {
    write_index(top, sequence, head, n, n < count ? best[n] : -1);
  }
}

/// One row of scores to the caller's tensor, zeros behind the last key in use.
template <class C, class Arch>
void write_key_scores(const softmax_attention_problem& p, std::int64_t b, std::int64_t head,
                      const C* scores) noexcept {
  const any_out<3>& out = p.key_outputs.scores;
  const attention_sequence s = sequence_at(p, b);
  const std::int64_t room =
      p.packed ? index_at(p.k_offsets, b + 1) - index_at(p.k_offsets, b) : out.extents[2];
  for (std::int64_t j = 0; j < room; ++j) {
    const C x = j < s.mask.keys ? scores[j] : C(0);
    write_lse(out, s.batch, head, s.k_begin + j, static_cast<double>(x));
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
