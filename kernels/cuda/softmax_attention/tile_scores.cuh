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
        score.change(p, row_at(m, h), from, [&](auto&& f) { w.for_row(m, h, f); });
      });
    }
  }

  /// Hides what each row does not see of the tile.
  template <class Warp>
  __device__ __forceinline__ void hide(Warp& w, int first_key, int lane) const {
    for_rows<Warp>([&](int m, int h) {
      const score_row at = row_at(m, h);
#pragma unroll
      for (int part = 0; part < Warp::keys; part += columns_in_word) {
        const int from = first_key + part + Warp::first_column(lane);
        const row_keys seen = mask.row(at.row).from(from);
        std::uint32_t shown = (columns_before(seen.end) & ~columns_before(seen.begin)) |
                              columns_before(seen.sink_end);
        if constexpr (Score::masks) {
          shown &= functor_shows(at, from, min(columns_in_word, Warp::keys - part));
        }
        w.for_row(m, h, [&](float& x, int column) {
          if (column / columns_in_word == part / columns_in_word) {
            x = (shown >> bit_of(column % columns_in_word) & 1) != 0 ? x : Warp::hidden;
          }
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
  // A thread's columns of a row, 0, 1, 8, 9, 16, ... from its first one on, as bits of a word.
  static constexpr int columns_in_word = 128;
  static __device__ __forceinline__ constexpr int bit_of(int column) {
    return column / 8 * 2 + column % 8;
  }
  /// The bits of the columns before this one.
  static __device__ __forceinline__ std::uint32_t columns_before(int column) {
    const int bits = column <= 0 ? 0 : column / 8 * 2 + min(column % 8, 2);
    return __funnelshift_lc(0, 1, static_cast<std::uint32_t>(min(bits, 32))) - 1;
  }

  /// The functor is compiled twice for a row, not once for each of its scores.
  __device__ __forceinline__ std::uint32_t functor_shows(const score_row& at, int from,
                                                         int columns) const {
    std::uint32_t shown = 0;
    columns = at.keys > 0 ? columns : 0;  // else there is no pair to ask about
#pragma unroll 1
    for (int column = 0; column < columns; column += 8) {
      shown |= (score.sees(at, from + column) ? 1u : 0u) << bit_of(column);
      shown |= (score.sees(at, from + column + 1) ? 2u : 0u) << bit_of(column);
    }
    return shown;
  }

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
