// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/bf16_panels.hpp>
#include <seqmix/ops/softmax_attention/flash.hpp>

// The tiled algorithm for bf16 with an engine that multiplies whole matrices of bf16: blocks, masks
// and the online softmax are flash's, queries stay bf16, and weights are rounded to bf16 before
// they meet the values. Sums are float. `Tiles` is the engine (see simd/amx.hpp), `Arch` what
// computes all else.
//
// A row's bits depend on the sequence's keys that it sees, alone: a weight of zero adds zero, as
// values that are not finite are kept apart.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Row strides of a strip's scores and weights: off the powers of two, on which rows would share
/// sets of the cache.
inline constexpr std::int64_t tile_score_row = 256 + 16;
inline constexpr std::int64_t tile_weight_row = 256 + 32;

/// A worker's scratch for one task of at most `rows` rows.
template <class Arch>
struct bf16_tile_scratch {
  std::int64_t block;        // keys in one
  std::int64_t key_width;    // dimensions, padded to whole steps
  std::int64_t value_width;  // likewise

  bf16* queries;                      // [rows][key_width]
  float* factors;                     // [rows] what scores are multiplied by
  float* values;                      // [rows][value_width], accumulated
  softmax_state<float, Arch>* state;  // [rows]
  float* scores;                      // [32][tile_score_row]
  bf16* weights;                      // [32][tile_weight_row]
  float* product;                     // [32][32]
  bf16* key_panels;                   // [block / 32][key_width / 32][step]
  bf16* value_panels;                 // [value_width / 32][block / 32][step]
  std::int64_t* outlier_keys;         // [block]
  bf16* outliers;                     // [block][value_width]

  bf16_tile_scratch(scratch_layout& layout, std::int64_t rows, std::int64_t key_dim,
                    std::int64_t value_dim) noexcept
      : block(block_keys<bf16>(key_dim, value_dim)),
        key_width(round_up(key_dim, tile_side)),
        value_width(round_up(value_dim, tile_side)) {
    rows = round_up(rows, tile_side);
    queries = layout.take<bf16>(rows * key_width);
    factors = layout.take<float>(rows);
    values = layout.take<float>(rows * value_width);
    state = layout.take<softmax_state<float, Arch>>(rows);
    scores = layout.take<float>(tile_side * tile_score_row);
    weights = layout.take<bf16>(tile_side * tile_weight_row);
    product = layout.take<float>(tile_side * tile_side);
    key_panels = layout.take<bf16>(block * key_width);
    value_panels = layout.take<bf16>(block * value_width);
    outlier_keys = layout.take<std::int64_t>(block);
    outliers = layout.take<bf16>(block * value_width);
  }
};

/// Scores of `Rows` rows, a multiple of the lanes, to weights of bf16. As `softmax_strip`, but that
/// scores are multiplied by their row's `scale`, which is above zero, on the way, and that weights
/// go elsewhere.
template <int Rows, class Arch>
SEQMIX_ALWAYS_INLINE void softmax_tile_rows(const float* scores, const float* scale, std::int64_t n,
                                            softmax_state<float, Arch>* state, float* factor,
                                            bf16* weights) noexcept {
  using V = simd::vec<float, Arch>;
  constexpr int w = simd::lanes<float, Arch>;
  static_assert(Rows % w == 0);
  alignas(64) float largest[Rows];
  alignas(64) float reference[Rows];
  largest_scores<Rows, float, Arch>(scores, tile_score_row, n, largest);
  for (int r = 0; r < Rows; r += w) {
    (V::load_aligned(largest + r) * V::load_unaligned(scale + r)).store_aligned(largest + r);
  }
  raise_maxima<Rows, float, Arch>(largest, state, reference, factor);
  for (int r = 0; r < Rows; ++r) {
    const float* score = scores + r * tile_score_row;
    bf16* weight = weights + r * tile_weight_row;
    const V slope(scale[r]);
    const V most(-reference[r]);
    const V sum = weigh_scores<float, Arch>(
        n,
        [&](std::int64_t j) __attribute__((always_inline)) {
          return simd::fma(V::load_aligned(score + j), slope, most);
        },
        [&](std::int64_t j, V first, V second)
            __attribute__((always_inline)) { round_weights<Arch>(first, second, weight + j); });
    state[r].sum = simd::fma(state[r].sum, V(factor[r]), sum);
  }
}

/// Scores of `Rows` rows from row `first` on, of which `count` exist, to bf16 weights. `at` is
/// where their state lies, `r0` their place in the strip; scores are those of keys [from, to).
template <int Rows, class Arch>
void weigh_tile_rows(const row_geometry& rows, const score_terms<float, Arch>& terms,
                     const bf16_tile_scratch<Arch>& s, std::int64_t at, std::int64_t r0,
                     std::int64_t first, std::int64_t count, block_cover cover, std::int64_t from,
                     std::int64_t to, float* factor) noexcept {
  using V = simd::vec<float, Arch>;
  float* scores = s.scores + r0 * tile_score_row;
  float scale[Rows];
  for (std::int64_t r = 0; r < Rows; ++r) {
    scale[r] = r < count ? s.factors[at + r] : 1.0f;
    float* score = scores + r * tile_score_row;
    if (terms.any || !(scale[r] > 0)) {
      for (std::int64_t j = 0; j < to - from; j += simd::lanes<float, Arch>) {
        (V::load_aligned(score + j) * V(scale[r])).store_aligned(score + j);
      }
      scale[r] = 1;
    }
    if (r >= count) {
      continue;
    }
    if (terms.any) {
      terms.apply(rows, first + r, score, from, to);
    }
    const clipped_ranges seen = cover.full
                                    ? clipped_ranges({0, cover.begin, cover.end}, from, to)
                                    : clipped_ranges(rows.visible(first + r), from, cover.end);
    mask_scores<float, Arch>(score, seen, from, to, -std::numeric_limits<float>::infinity());
  }
  softmax_tile_rows<Rows, Arch>(scores, scale, to - from, s.state + at, factor,
                                s.weights + r0 * tile_weight_row);
}

/// Adds what was kept apart of the values to the rows that see it. Weights are those of the keys
/// from `from` on.
template <class Arch>
void add_outliers(const row_geometry& rows, const bf16_tile_scratch<Arch>& s,
                  const tile_outliers& apart, std::int64_t at, std::int64_t first,
                  std::int64_t count, block_cover cover, std::int64_t from) noexcept {
  using V = simd::vec<float, Arch>;
  for (std::int64_t i = 0; i < apart.count; ++i) {
    const std::int64_t key = apart.keys[i];
    for (std::int64_t r = 0; r < count && key >= cover.begin && key < cover.end; ++r) {
      if (!rows.visible(first + r).contains(key)) {
        continue;
      }
      const V weight(static_cast<float>(s.weights[r * tile_weight_row + (key - from)]));
      float* out = s.values + (at + r) * s.value_width;
      for (std::int64_t c = 0; c < s.value_width; c += simd::lanes<float, Arch>) {
        const V value = simd::load<float, Arch>(apart.values + i * s.value_width + c);
        simd::fma(weight, value, V::load_aligned(out + c)).store_aligned(out + c);
      }
    }
  }
}

/// One strip of `count` rows over keys [cover.begin, cover.end) of the packed block that starts at
/// key `block_begin`; `at` is the strip's place in the task.
template <class Tiles, class Arch>
void bf16_tile_strip(const row_geometry& rows, const score_terms<float, Arch>& terms,
                     const bf16_tile_scratch<Arch>& s, const tile_outliers& apart, std::int64_t at,
                     std::int64_t first, std::int64_t count, std::int64_t block_begin,
                     block_cover cover) noexcept {
  using V = simd::vec<float, Arch>;
  // Scores of the panels that hold the hull.
  const std::int64_t left = (cover.begin - block_begin) / tile_side * tile_side;
  const std::int64_t right = round_up(cover.end - block_begin, tile_side);
  for (std::int64_t j = left; j < right; j += tile_side) {
    Tiles::multiply(s.queries + at * s.key_width, s.key_width, s.key_panels + j * s.key_width,
                    s.key_width / tile_side, s.scores + (j - left), tile_score_row);
  }

  const std::int64_t from = block_begin + left;
  constexpr int together = 16;
  float factor[tile_side];
  for (std::int64_t r = 0; r < count; r += together) {
    weigh_tile_rows<together, Arch>(rows, terms, s, at + r, r, first + r, count - r, cover, from,
                                    block_begin + right, factor + r);
  }

  for (std::int64_t c0 = 0; c0 < s.value_width; c0 += tile_side) {
    Tiles::multiply(s.weights, tile_weight_row, s.value_panels + c0 * s.block + left * tile_side,
                    (right - left) / tile_side, s.product, tile_side);
    for (std::int64_t r = 0; r < count; ++r) {
      float* out = s.values + (at + r) * s.value_width + c0;
      const float* sum = s.product + r * tile_side;
      const V shrink(factor[r]);
      for (std::int64_t c = 0; c < tile_side; c += simd::lanes<float, Arch>) {
        simd::fma(V::load_aligned(out + c), shrink, V::load_aligned(sum + c))
            .store_aligned(out + c);
      }
    }
  }
  if (apart.count > 0) {
    add_outliers<Arch>(rows, s, apart, at, first, count, cover, from);
  }
}

/// All strips of a task over keys [begin, end), one block, packed first.
template <class Tiles, class Arch, class Rows>
void bf16_tile_block(const Rows& rows, const score_terms<float, Arch>& terms,
                     const bf16_tile_scratch<Arch>& s, std::int64_t row_begin, std::int64_t row_end,
                     std::int64_t begin, std::int64_t end) noexcept {
  // The hull over all rows decides what is packed; most often it is the whole block or nothing.
  const block_cover all = cover(rows, row_begin, row_end - row_begin, begin, end);
  if (all.empty()) {
    return;
  }
  const std::int64_t skipped = (all.begin - begin) / tile_side * tile_side;
  const std::int64_t from = begin + skipped;
  tile_outliers apart{s.outlier_keys, s.outliers, s.value_width};
  rows.with_rows(
      from, all.end,
      [&](const auto& keys) {
        pack_tile_keys<Arch>(keys, all.end - from, rows.problem.key_dim(),
                             s.key_panels + skipped * s.key_width);
      },
      [&](const auto& values) {
        pack_tile_values<Arch>(values, from, all.end - from, rows.problem.value_dim(), s.block,
                               s.value_panels + skipped * tile_side, apart);
      });
  for (std::int64_t first = row_begin; first < row_end; first += tile_side) {
    const std::int64_t count = row_end - first < tile_side ? row_end - first : tile_side;
    const block_cover c = cover(rows, first, count, begin, end);
    if (!c.empty()) {
      bf16_tile_strip<Tiles, Arch>(rows, terms, s, apart, first - row_begin, first, count, begin,
                                   c);
    }
  }
}

/// Rows [row_begin, row_end) of one key-value head; row_begin is a multiple of 32.
template <class Tiles, class Arch, class Rows>
void bf16_tile_task(const Rows& rows, std::int64_t row_begin, std::int64_t row_end,
                    const bf16_tile_scratch<Arch>& s) noexcept {
  const std::int64_t count = row_end - row_begin;
  const score_terms<float, Arch> terms(rows.problem);
  for (std::int64_t r = 0; r < count; r += tile_side) {
    const std::int64_t present = count - r < tile_side ? count - r : tile_side;
    pack_tile_queries<Arch>(rows, row_begin + r, present, rows.problem.key_dim(), s.key_width,
                            s.queries + r * s.key_width);
  }
  const std::int64_t padded = round_up(count, tile_side);
  for (std::int64_t r = 0; r < padded; ++r) {
    s.factors[r] = r < count ? query_factor<float>(rows, terms, row_begin + r) : 0.0f;
    s.state[r] = softmax_state<float, Arch>{};
  }
  for (std::int64_t i = 0; i < padded * s.value_width; ++i) {
    s.values[i] = 0;
  }

  Tiles::configure();
  const std::int64_t keys = rows.sequence.mask.keys;
  for (std::int64_t begin = 0; begin < keys; begin += s.block) {
    bf16_tile_block<Tiles, Arch>(rows, terms, s, row_begin, row_end, begin,
                                 begin + s.block < keys ? begin + s.block : keys);
  }
  Tiles::release();

  for (std::int64_t r = 0; r < count; ++r) {
    const float sum = simd::sum_lanes<float, Arch>(s.state[r].sum);
    const row_total<float> t =
        rows.template total<float, Arch>(row_begin + r, s.state[r].maximum, sum);
    rows.template finish<float, Arch>(row_begin + r, t, t.sum, s.values + r * s.value_width);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
