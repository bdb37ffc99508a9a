// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/score.hpp>

// Mask functors for structures in common use. A query's place is that of the key which stands where
// it does, `query + keys - queries`: with a cache the same functor serves prefill and steps. All
// are intersected with the options' causal bound and window.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The place of a query among the keys.
SEQMIX_HOST_DEVICE constexpr std::int64_t place_of_query(std::int64_t query, std::int64_t queries,
                                                         std::int64_t keys) noexcept {
  return query + keys - queries;
}

/// floor(place / size), also for the negative places of queries without a key.
SEQMIX_HOST_DEVICE constexpr std::int64_t floor_divide(std::int64_t place,
                                                       std::int64_t size) noexcept {
  return place >= 0 ? place / size : -((size - 1 - place) / size);
}

/// What a rule says of a block that it divides into cells: rows [q0, q1] and columns [k0, k1] of
/// cells, of which row r sees columns [r - left, r + right]; -1: unbounded.
SEQMIX_HOST_DEVICE constexpr block_visibility band_of_cells(std::int64_t q0, std::int64_t q1,
                                                            std::int64_t k0, std::int64_t k1,
                                                            std::int64_t left,
                                                            std::int64_t right) noexcept {
  const bool none = (left >= 0 && k1 < q0 - left) || (right >= 0 && k0 > q1 + right);
  const bool all = (left < 0 || k0 >= q1 - left) && (right < 0 || k1 <= q0 + right);
  return none ? block_visibility::empty : all ? block_visibility::full : block_visibility::partial;
}

}  // namespace detail

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

/// Both of two masks.
template <class A, class B>
struct both_masks {
  A a;
  B b;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const {
    return a(at) && b(at);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& block) const {
    const block_visibility x = ask(a, block);
    const block_visibility y = ask(b, block);
    if (x == block_visibility::empty || y == block_visibility::empty) {
      return block_visibility::empty;
    }
    return x == y ? x : block_visibility::partial;
  }

 private:
  template <class M>
  SEQMIX_HOST_DEVICE static constexpr block_visibility ask(const M& mask, const mask_block& block) {
    if constexpr (block_attention_mask<M>) {
      return mask.classify(block);
    } else {
      return block_visibility::partial;
    }
  }
};
template <class A, class B>
both_masks(A, B) -> both_masks<A, B>;

SEQMIX_END_NAMESPACE
