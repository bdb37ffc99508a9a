// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/error.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <span>
#include <string>
#include <utility>

// Block-sparse attention: the pairs of a grid of blocks, of which a map keeps some. Unlike other
// masks these count queries from the sequence's first, not from the key that stands where it does:
// what selects blocks has a row for each block of queries. Options and other masks may hide pairs
// of a kept block. A query without a kept block has a result of zero and a log-sum-exp of minus
// infinity.
//
// Guo et al., "Block Sparse Attention", https://github.com/mit-han-lab/Block-Sparse-Attention,
// 2024.

SEQMIX_BEGIN_NAMESPACE

/// The grid of a map, and which heads and sequences have which.
struct block_grid {
  std::int64_t block_queries;      ///< of a block
  std::int64_t block_keys;         ///< of a block
  std::int64_t query_blocks;       ///< of a map: at least those of the longest sequence
  std::int64_t group = 0;          ///< query heads that share a map; 0: all do
  std::int64_t sequence_maps = 0;  ///< maps from a sequence to the next; 0: all have the same

  SEQMIX_HOST_DEVICE constexpr std::int64_t map_of(std::int64_t sequence,
                                                   std::int64_t head) const noexcept {
    return sequence * sequence_maps + (group > 0 ? head / group : 0);
  }
};

namespace detail {

/// What the blocks that `b` touches say together. `keeps(row, from, to)` is whether any and whether
/// all of key blocks [from, to) are kept in row `row`, rows of all maps counted through.
struct blocks_kept {
  bool any;
  bool all;
};
template <class Keeps>
SEQMIX_HOST_DEVICE constexpr block_visibility ask_of_rows(const block_grid& grid,
                                                          const mask_block& b, Keeps keeps) {
  const std::int64_t from = b.key_begin / grid.block_keys;
  const std::int64_t to = (b.key_end - 1) / grid.block_keys + 1;
  const std::int64_t last_map = grid.map_of(b.sequence, b.head_end - 1);
  bool any = false;
  bool all = true;
  for (std::int64_t map = grid.map_of(b.sequence, b.head_begin); map <= last_map; ++map) {
    const std::int64_t last = (b.query_end - 1) / grid.block_queries;
    for (std::int64_t row = b.query_begin / grid.block_queries; row <= last; ++row) {
      const blocks_kept kept = keeps(map * grid.query_blocks + row, from, to);
      any = any || kept.any;
      all = all && kept.all;
      if (any && !all) {
        return block_visibility::partial;
      }
    }
  }
  return all ? block_visibility::full : block_visibility::empty;
}

}  // namespace detail

/// Kept blocks as a bitmap of bytes: block (i, j) of map m is kept where
/// `kept[(m * grid.query_blocks + i) * row_step + j]` is not 0.
struct block_map_mask {
  block_grid grid;
  const std::uint8_t* kept;
  std::int64_t row_step;  ///< bytes; at least the key blocks of the longest sequence

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t row =
        grid.map_of(at.sequence, at.head) * grid.query_blocks + at.query / grid.block_queries;
    return kept[row * row_step + at.key / grid.block_keys] != 0;
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    return detail::ask_of_rows(grid, b,
                               [this](std::int64_t row, std::int64_t from, std::int64_t to) {
                                 detail::blocks_kept found{false, true};
                                 for (std::int64_t j = from; j < to; ++j) {
                                   const bool keeps = kept[row * row_step + j] != 0;
                                   found.any = found.any || keeps;
                                   found.all = found.all && keeps;
                                 }
                                 return found;
                               });
  }
};

/// Kept blocks as lists, in the compressed form of sparse rows (CSR): row i of map m keeps the key
/// blocks `blocks[begins[r]]` to `blocks[begins[r + 1] - 1]`, r = m * grid.query_blocks + i, in
/// ascending order. `check_block_lists` looks for lists that are none. A pair costs a search of its
/// row, a tile that lies in kept blocks alone, or in none, one search for all its pairs.
struct block_list_mask {
  block_grid grid;
  const std::int32_t* begins;  ///< one more than the rows of all maps
  const std::int32_t* blocks;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const noexcept {
    const std::int64_t row =
        grid.map_of(at.sequence, at.head) * grid.query_blocks + at.query / grid.block_queries;
    const std::int64_t block = at.key / grid.block_keys;
    const std::int64_t found = first_from(row, block);
    return found < begins[row + 1] && blocks[found] == block;
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& b) const noexcept {
    return detail::ask_of_rows(grid, b,
                               [this](std::int64_t row, std::int64_t from, std::int64_t to) {
                                 const std::int64_t first = first_from(row, from);
                                 const std::int64_t count = first_from(row, to) - first;
                                 return detail::blocks_kept{count > 0, count == to - from};
                               });
  }

 private:
  /// The place in `blocks` of the row's first block that is not before `block`.
  SEQMIX_HOST_DEVICE constexpr std::int64_t first_from(std::int64_t row,
                                                       std::int64_t block) const noexcept {
    std::int64_t low = begins[row];
    for (std::int64_t high = begins[row + 1]; low < high;) {
      const std::int64_t middle = low + (high - low) / 2;
      if (blocks[middle] < block) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

/// Looks at lists in host memory, which `block_list_mask` trusts. `key_blocks` are those of the
/// longest sequence. O(rows + blocks), no allocation.
///
/// Errors: a number of begins that is not whole maps and one more, lists that do not follow one
/// another through all of `blocks`, blocks beyond `key_blocks`, and blocks that do not ascend, of
/// which a search would miss some.
SEQMIX_ALWAYS_INLINE void check_block_lists(const block_grid& grid,
                                            std::span<const std::int32_t> begins,
                                            std::span<const std::int32_t> blocks,
                                            std::int64_t key_blocks) {
  const auto refuse = [](const char* argument, std::string expected, std::string actual) {
    detail::report({"check_block_lists", argument, std::move(expected), std::move(actual)});
  };
  const auto rows = static_cast<std::int64_t>(begins.size()) - 1;
  const auto count = static_cast<std::int64_t>(blocks.size());
  if (grid.block_queries < 1 || grid.block_keys < 1 || grid.query_blocks < 1) {
    return refuse("grid", "at least 1 query, key and block of queries",
                  std::to_string(grid.block_queries) + ", " + std::to_string(grid.block_keys) +
                      ", " + std::to_string(grid.query_blocks));
  }
  if (rows < 0 || rows % grid.query_blocks != 0) {
    return refuse("begins",
                  "one more than a multiple of " + std::to_string(grid.query_blocks) + " rows",
                  std::to_string(begins.size()));
  }
  if (begins.front() != 0 || begins.back() != count) {
    return refuse(
        "begins", "from 0 to the " + std::to_string(count) + " blocks",
        "from " + std::to_string(begins.front()) + " to " + std::to_string(begins.back()));
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t begin = begins[static_cast<std::size_t>(r)];
    const std::int64_t end = begins[static_cast<std::size_t>(r + 1)];
    if (end < begin || end > count) {
      return refuse("begins", "no list that ends before it begins or behind the blocks",
                    "row " + std::to_string(r) + " from " + std::to_string(begin) + " to " +
                        std::to_string(end));
    }
    std::int64_t before = -1;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t block = blocks[static_cast<std::size_t>(i)];
      if (block <= before || block >= key_blocks) {
        return refuse("blocks", "ascending, each once, below " + std::to_string(key_blocks),
                      std::to_string(block) + " after " + std::to_string(before) + " in row " +
                          std::to_string(r));
      }
      before = block;
    }
  }
}

SEQMIX_END_NAMESPACE
