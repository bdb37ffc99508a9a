// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "walk.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Calls `f(m, h)` for this thread's rows 16 m + 8 h + g of a warp's.
template <class Warp, class F>
__device__ __forceinline__ void for_rows_of(F&& f) {
#pragma unroll
  for (int m = 0; m < Warp::rows / 16; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      f(m, h);
    }
  }
}

/// What a thread's rows see of a tile: its columns of a row, 0, 1, 8, 9, 16, ... from its first one
/// on, as bits of words.
template <class Warp>
struct shown_columns {
  static constexpr int columns = 128;  // of a word
  static constexpr int parts = (Warp::keys + columns - 1) / columns;
  std::uint32_t words[Warp::rows / 16][2][parts];

  static __device__ __forceinline__ constexpr int bit_of(int column) {
    return column / 8 * 2 + column % 8;
  }
  /// The bits of the columns before this one.
  static __device__ __forceinline__ std::uint32_t before(int column) {
    const int bits = max(0, ((column + 7) >> 3) + ((column + 6) >> 3));
    return __funnelshift_lc(0, 1, static_cast<std::uint32_t>(min(bits, 32))) - 1;
  }

  /// Here and now, not where the words are used.
  __device__ __forceinline__ void pin() {
    for_rows_of<Warp>([&](int m, int h) {
#pragma unroll
      for (int part = 0; part < parts; ++part) {
        words[m][h][part] = rederived(words[m][h][part]);
      }
    });
  }

  /// Hides the other columns' scores.
  __device__ __forceinline__ void hide_others(Warp& w) const {
    for_rows_of<Warp>([&](int m, int h) {
      w.for_row(m, h, [&](float& x, int column) {
        const std::uint32_t word = words[m][h][column / columns];
        x = (word >> bit_of(column % columns) & 1) != 0 ? x : Warp::hidden;
      });
    });
  }
};

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
      for_rows_of<Warp>([&](int m, int h) {
        score.change(p, row_at(m, h), from, [&](auto&& f) { w.for_row(m, h, f); });
      });
    }
  }

  /// What each row sees of the tile.
  template <class Warp>
  __device__ __forceinline__ shown_columns<Warp> shown(int first_key, int lane) const {
    shown_columns<Warp> shown;
    for_rows_of<Warp>([&](int m, int h) {
      const score_row at = row_at(m, h);
#pragma unroll
      for (int part = 0; part < shown.parts; ++part) {
        const int column = part * shown.columns;
        const int from = first_key + column + Warp::first_column(lane);
        const row_keys seen = mask.row(at.row).from(from);
        shown.words[m][h][part] =
            (shown.before(seen.end) & ~shown.before(seen.begin)) | shown.before(seen.sink_end);
        if constexpr (Score::masks) {
          shown.words[m][h][part] &=
              functor_shows<Warp>(at, from, min(shown.columns, Warp::keys - column));
        }
      }
    });
    return shown;
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
  /// The functor is compiled twice for a row, not once for each of its scores.
  template <class Warp>
  __device__ __forceinline__ std::uint32_t functor_shows(const score_row& at, int from,
                                                         int columns) const {
    std::uint32_t shown = 0;
    columns = at.keys > 0 ? columns : 0;  // else there is no pair to ask about
#pragma unroll 1
    for (int column = 0; column < columns; column += 8) {
      shown |= (score.sees(at, from + column) ? 1u : 0u) << shown_columns<Warp>::bit_of(column);
      shown |= (score.sees(at, from + column + 1) ? 2u : 0u) << shown_columns<Warp>::bit_of(column);
    }
    return shown;
  }
};

template <class Score, class RowAt>
tile_scores(const attention_params&, const Score&, sequence_mask, RowAt)
    -> tile_scores<Score, RowAt>;

}  // namespace cuda

SEQMIX_END_NAMESPACE
