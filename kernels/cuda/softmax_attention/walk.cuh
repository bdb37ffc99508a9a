// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "mask.cuh"
#include "score.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A tile of keys on the way of a block of rows, and whether every row sees all of it: then no mask
/// code is needed.
struct walk_tile {
  int tile;
  bool whole;
};

/// The first tile at or after `tile`, of those `step` apart, in which the options' masks and the
/// policy's show a pair of the block; from `walk.end` on: none. `rows` is the block without its
/// keys.
template <class Score, int Keys>
__device__ __forceinline__ walk_tile next_tile(const tile_walk<Keys>& walk, int tile, int step,
                                               const Score& score, mask_block rows) {
  tile = walk.from(tile, step);
  if constexpr (Score::masks) {
    for (; tile < walk.end; tile = walk.from(tile + step, step)) {
      rows.key_begin = std::int64_t{tile} * Keys;
      rows.key_end = min(rows.key_begin + Keys, rows.keys);
      const block_visibility said = score.classify(rows);
      if (said != block_visibility::empty) {
        return {tile, walk.whole(tile) && said == block_visibility::full};
      }
    }
  }
  return {tile, walk.whole(tile)};
}

/// A tile, and up to which tile those that follow are seen and as whole as it is.
struct tile_run {
  static constexpr int none = 0x7fffffff;
  int tile;  ///< `none`: there is none
  int end;
  bool whole;

  __device__ __forceinline__ bool given() const { return tile != none; }
};

/// The first tile from `tile` on that `next_tile` finds, and those that follow it.
template <class Score, int Keys>
__device__ __forceinline__ tile_run run_from(const tile_walk<Keys>& walk, int tile,
                                             const Score& score, const mask_block& rows) {
  const walk_tile found = next_tile(walk, tile, 1, score, rows);
  if (found.tile >= walk.end) {
    return {tile_run::none, 0, false};
  }
  return {found.tile, Score::masks ? found.tile + 1 : walk.run_end(found.tile), found.whole};
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
