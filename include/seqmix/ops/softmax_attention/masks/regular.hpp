// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <seqmix/ops/softmax_attention/masks/place.hpp>

// Masks by places alone: chunks, blocks, a prefix, two streams, a grid.

SEQMIX_BEGIN_NAMESPACE

/// Chunks of `size` tokens; a query sees its own chunk whole, `left` chunks before it and `right`
/// after it. Streaming encoders: left context of whole chunks, look-ahead to the chunk's end.
struct chunk_mask {
  std::int64_t size;
  std::int64_t left = -1;  ///< chunks; -1: all
  std::int64_t right = 0;  ///< chunks; -1: all

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = cell(detail::place_of_query(at.query, at.queries, at.keys));
    const std::int64_t k = cell(at.key);
    return (left < 0 || k >= q - left) && (right < 0 || k <= q + right);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    return detail::band_of_cells(cell(detail::place_of_query(b.query_begin, b.queries, b.keys)),
                                 cell(detail::place_of_query(b.query_end - 1, b.queries, b.keys)),
                                 cell(b.key_begin), cell(b.key_end - 1), left, right);
  }

 private:
  SEQMIX_HOST_DEVICE constexpr std::int64_t cell(std::int64_t place) const noexcept {
    return detail::floor_divide(place, size);
  }
};

/// Blocks of `size` tokens, bidirectional inside a block, causal between blocks: block diffusion
/// with tokens, frame-causal video with a frame's tokens.
struct block_causal_mask : chunk_mask {
  explicit constexpr block_causal_mask(std::int64_t block) noexcept : chunk_mask{block, -1, 0} {}
};

/// Every query sees the first `length` keys, and others only up to its own place: a bidirectional
/// prefix before causal text.
struct prefix_mask {
  std::int64_t length;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    return at.key < length || at.key <= detail::place_of_query(at.query, at.queries, at.keys);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    if (b.key_end <= length) {
      return block_visibility::full;
    }
    const auto below =
        detail::band_of_cells(detail::place_of_query(b.query_begin, b.queries, b.keys),
                              detail::place_of_query(b.query_end - 1, b.queries, b.keys),
                              b.key_begin, b.key_end - 1, -1, 0);
    return below == block_visibility::empty && b.key_begin < length ? block_visibility::partial
                                                                    : below;
  }
};

/// Two streams in one sequence, the first of `boundary` tokens: one of them sees both, the other
/// only itself. A generated image beside its condition, say, which the image must not change.
struct directional_joint_mask {
  std::int64_t boundary;
  bool first_sees_both = true;  ///< else the second does

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    return visible(detail::place_of_query(at.query, at.queries, at.keys) < boundary,
                   at.key < boundary);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    const std::int64_t q0 = detail::place_of_query(b.query_begin, b.queries, b.keys);
    const std::int64_t q1 = detail::place_of_query(b.query_end - 1, b.queries, b.keys);
    bool any = false;
    bool all = true;
    for (const bool query_first : {true, false}) {
      for (const bool key_first : {true, false}) {
        const bool present = (query_first ? q0 < boundary : q1 >= boundary) &&
                             (key_first ? b.key_begin < boundary : b.key_end > boundary);
        any |= present && visible(query_first, key_first);
        all &= !present || visible(query_first, key_first);
      }
    }
    return all ? block_visibility::full : any ? block_visibility::partial : block_visibility::empty;
  }

 private:
  SEQMIX_HOST_DEVICE constexpr bool visible(bool query_first, bool key_first) const noexcept {
    return query_first == key_first || query_first == first_sees_both;
  }
};

/// A grid of `width` columns, row by row from key `begin` on, of `rows` rows: two places of the
/// grid see each other when both coordinates differ by at most `radius`. Everything else sees
/// everything.
struct grid_radius_mask {
  std::int64_t width;
  std::int64_t rows;
  std::int64_t radius;
  std::int64_t begin = 0;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys) - begin;
    const std::int64_t k = at.key - begin;
    if (!inside(q) || !inside(k)) {
      return true;
    }
    return near(q / width, k / width) && near(q % width, k % width);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    const std::int64_t q0 = detail::place_of_query(b.query_begin, b.queries, b.keys) - begin;
    const std::int64_t q1 = detail::place_of_query(b.query_end - 1, b.queries, b.keys) - begin;
    const std::int64_t k0 = b.key_begin - begin;
    const std::int64_t k1 = b.key_end - 1 - begin;
    const std::int64_t size = width * rows;
    if (q1 < 0 || q0 >= size || k1 < 0 || k0 >= size) {
      return block_visibility::full;
    }
    if (!inside(q0) || !inside(q1) || !inside(k0) || !inside(k1)) {
      return block_visibility::partial;
    }
    // Rows of the grid decide a block that is out of reach; columns decide too much to be sure.
    return detail::band_of_cells(q0 / width, q1 / width, k0 / width, k1 / width, radius, radius) ==
                   block_visibility::empty
               ? block_visibility::empty
               : block_visibility::partial;
  }

 private:
  SEQMIX_HOST_DEVICE constexpr bool inside(std::int64_t place) const noexcept {
    return place >= 0 && place < width * rows;
  }
  SEQMIX_HOST_DEVICE constexpr bool near(std::int64_t a, std::int64_t b) const noexcept {
    return (a > b ? a - b : b - a) <= radius;
  }
};

SEQMIX_END_NAMESPACE
