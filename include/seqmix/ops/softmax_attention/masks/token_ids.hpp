// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/masks/place.hpp>

// Masks by a number for each token: its frame, its document, the image it belongs to. Numbers may
// come in any order. A block is classified by the least and the most of its numbers, which costs
// one look at each row and key in place of one at each pair.

SEQMIX_BEGIN_NAMESPACE

/// A number for each key of a sequence; a query has that of its place. Those of sequence s begin at
/// `data + s * step`: packed sequences and caches of many lengths have rows of the longest. A query
/// before the first key has no number and sees nothing.
struct token_ids {
  const std::int32_t* data;
  std::int64_t step = 0;  ///< 0: every sequence has the same

  SEQMIX_HOST_DEVICE constexpr std::int32_t at(std::int64_t sequence,
                                               std::int64_t place) const noexcept {
    return data[sequence * step + place];
  }
};

namespace detail {

struct id_range {
  std::int32_t least, most;

  SEQMIX_HOST_DEVICE constexpr bool single() const noexcept { return least == most; }
  SEQMIX_HOST_DEVICE constexpr bool meets(const id_range& other) const noexcept {
    return least <= other.most && other.least <= most;
  }
};

SEQMIX_HOST_DEVICE constexpr id_range range_of(const token_ids& ids, std::int64_t sequence,
                                               std::int64_t begin, std::int64_t end) noexcept {
  id_range r{ids.at(sequence, begin), ids.at(sequence, begin)};
  for (std::int64_t place = begin + 1; place < end; ++place) {
    const std::int32_t id = ids.at(sequence, place);
    r.least = id < r.least ? id : r.least;
    r.most = id > r.most ? id : r.most;
  }
  return r;
}

/// The numbers of a block's queries and keys. There must be a query with a place.
struct block_ids {
  bool whole;  // every query has a place
  id_range queries, keys;

  SEQMIX_HOST_DEVICE static constexpr bool exist(const mask_block& b) noexcept {
    return place_of_query(b.query_end - 1, b.queries, b.keys) >= 0;
  }
  SEQMIX_HOST_DEVICE constexpr block_ids(const token_ids& ids, const mask_block& b) noexcept
      : whole(place_of_query(b.query_begin, b.queries, b.keys) >= 0),
        queries(range_of(ids, b.sequence,
                         whole ? place_of_query(b.query_begin, b.queries, b.keys) : 0,
                         place_of_query(b.query_end, b.queries, b.keys))),
        keys(range_of(ids, b.sequence, b.key_begin, b.key_end)) {}
};

}  // namespace detail

/// A query sees the tokens of its own frame and of frames with lower numbers: causal between frames
/// of any sizes, bidirectional inside one.
struct frame_causal_mask {
  token_ids frame;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys);
    return q >= 0 && frame.at(at.sequence, at.key) <= frame.at(at.sequence, q);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    if (!detail::block_ids::exist(b)) {
      return block_visibility::empty;
    }
    const detail::block_ids ids(frame, b);
    return ids.keys.least > ids.queries.most                 ? block_visibility::empty
           : ids.whole && ids.keys.most <= ids.queries.least ? block_visibility::full
                                                             : block_visibility::partial;
  }
};

/// A query sees the tokens of its own segment: documents, or images, side by side in a sequence.
struct segment_mask {
  token_ids segment;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys);
    return q >= 0 && segment.at(at.sequence, at.key) == segment.at(at.sequence, q);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    if (!detail::block_ids::exist(b)) {
      return block_visibility::empty;
    }
    const detail::block_ids ids(segment, b);
    return !ids.queries.meets(ids.keys)                             ? block_visibility::empty
           : ids.whole && ids.queries.single() && ids.keys.single() ? block_visibility::full
                                                                    : block_visibility::partial;
  }
};

/// Causal text with images, or other spans, that see all of themselves: a query sees the keys up to
/// its place, and those of its own span. Numbers below 0 are text, tokens with the same number from
/// 0 on are one span.
struct span_causal_mask {
  token_ids span;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys);
    if (at.key <= q) {
      return true;
    }
    const std::int32_t own = q < 0 ? -1 : span.at(at.sequence, q);
    return own >= 0 && span.at(at.sequence, at.key) == own;
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    const block_visibility below =
        detail::band_of_cells(detail::place_of_query(b.query_begin, b.queries, b.keys),
                              detail::place_of_query(b.query_end - 1, b.queries, b.keys),
                              b.key_begin, b.key_end - 1, -1, 0);
    if (below == block_visibility::full || !detail::block_ids::exist(b)) {
      return below;
    }
    const detail::block_ids ids(span, b);
    if (ids.queries.most < 0 || ids.keys.most < 0 || !ids.queries.meets(ids.keys)) {
      return below;
    }
    return ids.whole && ids.queries.single() && ids.keys.single() ? block_visibility::full
                                                                  : block_visibility::partial;
  }
};

/// Only queries of text look around: those of visual tokens see themselves alone. Numbers below 0
/// are text, others visual; with `causal` among the options text is causal, as it usually is. The
/// result of a visual token is then its own value, which a layer that leaves visual tokens without
/// attention takes or replaces.
struct text_queries_mask {
  token_ids visual;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys);
    return q >= 0 && (at.key == q || visual.at(at.sequence, q) < 0);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    if (!detail::block_ids::exist(b)) {
      return block_visibility::empty;
    }
    const std::int64_t q0 = detail::place_of_query(b.query_begin, b.queries, b.keys);
    const std::int64_t q1 = detail::place_of_query(b.query_end - 1, b.queries, b.keys);
    const detail::id_range queries = detail::range_of(visual, b.sequence, q0 < 0 ? 0 : q0, q1 + 1);
    if (queries.most < 0 && q0 >= 0) {
      return block_visibility::full;
    }
    if (queries.least >= 0 && (b.key_begin > q1 || b.key_end <= q0)) {
      return block_visibility::empty;
    }
    return q0 == q1 && b.key_begin == q0 && b.key_end == q0 + 1 ? block_visibility::full
                                                                : block_visibility::partial;
  }
};

SEQMIX_END_NAMESPACE
