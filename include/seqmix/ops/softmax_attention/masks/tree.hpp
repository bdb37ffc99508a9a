// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/error.hpp>
#include <seqmix/ops/softmax_attention/masks/place.hpp>
#include <span>
#include <string>

SEQMIX_BEGIN_NAMESPACE

/// The tail of a tree for speculative decoding: the last `nodes` keys of a sequence are the nodes
/// of a tree, and the last `nodes` queries are theirs. A node sees every key before the tail and
/// the nodes that `sees` says, its ancestors and itself; a query before the tail sees keys up to
/// its own place. Usually the queries are the nodes, T = n, beside a cache whose lengths count
/// them.
///
/// `sees` are bytes, not 0 for visible: node r of sequence s sees node c by
/// `sees[s * sequence_step + r * row_step + c]`. `fill_tree` writes them.
///
/// Miao et al., "SpecInfer: Accelerating Large Language Model Serving with Tree-based Speculative
/// Inference and Verification", 2024.
struct tree_mask {
  const std::uint8_t* sees;
  std::int64_t row_step;
  std::int64_t sequence_step = 0;  ///< 0: every sequence has the same tree
  std::int64_t nodes = -1;         ///< -1: every query of a sequence is a node

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t tail = at.keys - count(at.queries);
    const std::int64_t q = detail::place_of_query(at.query, at.queries, at.keys);
    if (q < tail) {
      return at.key <= q;
    }
    return at.key < tail ||
           sees[at.sequence * sequence_step + (q - tail) * row_step + (at.key - tail)] != 0;
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    const std::int64_t tail = b.keys - count(b.queries);
    const std::int64_t q0 = detail::place_of_query(b.query_begin, b.queries, b.keys);
    const std::int64_t q1 = detail::place_of_query(b.query_end - 1, b.queries, b.keys);
    const block_visibility below = detail::band_of_cells(q0, q1, b.key_begin, b.key_end - 1, -1, 0);
    if (q1 < tail || (below == block_visibility::full && b.key_end <= tail)) {
      return below;
    }
    return q0 >= tail && b.key_end <= tail ? block_visibility::full : block_visibility::partial;
  }

 private:
  SEQMIX_HOST_DEVICE constexpr std::int64_t count(std::int64_t queries) const noexcept {
    return nodes < 0 ? queries : nodes;
  }
};

/// Writes the bytes that `tree_mask` reads for one tree: row r of `sees`, of n bytes, begins at
/// r * row_step. `parents[r]` is the parent of node r, an earlier node, or -1 for one that follows
/// the keys before the tail; there may be many of these. O(n^2), no allocation.
///
/// Errors: a parent that is not in [-1, r), rows that are shorter than the tree, or bytes too few
/// for them are reported before anything is written.
SEQMIX_ALWAYS_INLINE void fill_tree(std::span<const std::int32_t> parents,
                                    std::span<std::uint8_t> sees, std::int64_t row_step) {
  const auto n = static_cast<std::int64_t>(parents.size());
  const auto bytes = static_cast<std::int64_t>(sees.size());
  if (row_step < n) {
    return detail::report({"fill_tree", "row_step", "at least the " + std::to_string(n) + " nodes",
                           std::to_string(row_step)});
  }
  if (n > 0 && bytes < (n - 1) * row_step + n) {
    return detail::report({"fill_tree", "sees",
                           "at least " + std::to_string((n - 1) * row_step + n) + " bytes",
                           std::to_string(bytes)});
  }
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int32_t parent = parents[static_cast<std::size_t>(r)];
    if (parent < -1 || parent >= r) {
      return detail::report({"fill_tree", "parents", "earlier nodes, or -1",
                             "entry " + std::to_string(r) + " = " + std::to_string(parent)});
    }
  }
  for (std::int64_t r = 0; r < n; ++r) {
    std::uint8_t* row = sees.data() + r * row_step;
    const std::int64_t parent = parents[static_cast<std::size_t>(r)];
    for (std::int64_t c = 0; c < n; ++c) {
      const bool ancestor =
          parent >= 0 && sees[static_cast<std::size_t>(parent * row_step + c)] != 0;
      row[c] = ancestor || c == r ? 1 : 0;
    }
  }
}

SEQMIX_END_NAMESPACE
