// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "walk.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What the rows of a warp make of one tile of keys: score policy and masks, applied to fragments.
/// `row_at(m, h)` is the `score_row` of row 16 m + 8 h + g.
template <class Score, class RowAt>
struct tile_scores {
  const attention_params& p;
  const Score& score;
  sequence_mask mask;
  RowAt row_at;

  /// Scores of the tile that begins at `first_key`, from raw products on.
  template <class Warp>
  __device__ __forceinline__ void change(Warp& w, int first_key, int lane) const {
    if constexpr (!Score::plain) {
      const int from = first_key + Warp::first_column(lane);
      for_rows<Warp>([&](int m, int h) {
        score.change(p, row_at(m, h), [&](auto&& f) {
          w.for_row(m, h, [&](float& x, int column) { f(x, from + column); });
        });
      });
    }
  }

  /// Hides what each row does not see of the tile.
  template <class Warp>
  __device__ __forceinline__ void hide(Warp& w, int first_key, int lane) const {
    const int from = first_key + Warp::first_column(lane);
    for_rows<Warp>([&](int m, int h) {
      const score_row at = row_at(m, h);
      const row_keys seen = mask.row(at.row).from(from);
      w.for_row(m, h, [&](float& x, int column) { x = seen.contains(column) ? x : Warp::hidden; });
      if constexpr (Score::masks) {
        // The functor is compiled twice for a row, not once for each of its scores.
        std::uint32_t shown = 0;
#pragma unroll 1
        for (int n = 0; n < Warp::keys / 8; ++n) {
          shown |= (score.sees(at, from + 8 * n) ? 1u : 0u) << (2 * n);
          shown |= (score.sees(at, from + 8 * n + 1) ? 2u : 0u) << (2 * n);
        }
        w.for_row(m, h, [&](float& x, int column) {
          x = (shown >> (column / 8 * 2 + column % 8) & 1) != 0 ? x : Warp::hidden;
        });
      }
    });
  }

  /// Whether row 16 m + 8 h + g sees a key.
  __device__ __forceinline__ bool sees(int m, int h, int key) const {
    const score_row at = row_at(m, h);
    bool seen = mask.row(at.row).contains(key);
    if constexpr (Score::masks) {
      seen = seen && score.sees(at, key);
    }
    return seen;
  }

 private:
  template <class Warp, class F>
  static __device__ __forceinline__ void for_rows(F&& f) {
#pragma unroll
    for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        f(m, h);
      }
    }
  }
};

template <class Score, class RowAt>
tile_scores(const attention_params&, const Score&, sequence_mask, RowAt)
    -> tile_scores<Score, RowAt>;

}  // namespace cuda

SEQMIX_END_NAMESPACE
