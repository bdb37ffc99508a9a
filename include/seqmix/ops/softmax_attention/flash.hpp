// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/round_up.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/softmax_attention/score_terms.hpp>
#include <seqmix/ops/softmax_attention/strip_softmax.hpp>
#include <seqmix/simd/tile.hpp>

// The tiled algorithm. A task takes a range of query rows of one key-value head. It walks over the
// keys in blocks that start at key 0; it packs a block's keys and values once, and runs every strip
// of rows over them: scores, online softmax and weighted values of a strip stay in the first-level
// cache. Nothing grows with the number of keys.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Row stride of a strip's scores, a constant so that addresses fold into the instructions.
inline constexpr std::int64_t score_stride = 256;

/// Keys in a block: packed keys and values of a block share the second-level cache with the strip.
template <class C>
constexpr std::int64_t block_keys(std::int64_t key_dim, std::int64_t value_dim) noexcept {
  const std::int64_t bytes = (key_dim + value_dim) * static_cast<std::int64_t>(sizeof(C));
  return bytes <= 1024 ? 256 : bytes <= 2048 ? 128 : 64;
}

// The two products are functions that are not inlined: all registers are theirs. Around other code
// compilers run out of them, and load the right operand anew for every row.

/// Scores of `Rows` rows and the keys of one panel over `dim` dimensions: `queries` as
/// `pack_queries` leaves them. Some steps in a row hide what a loop costs.
template <int Rows, class C, class Arch>
[[gnu::noinline]] void score_panel(const C* queries, const C* keys, std::int64_t dim,
                                   C* scores) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int width = simd::tile_shape<Arch>::width;
  constexpr std::int64_t columns = simd::tile_shape<Arch>::template columns<C>;
  constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr int steps = w < 4 ? w : 4;
  V acc[Rows][width];
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    simd::unroll<width>([&](auto c) __attribute__((always_inline)) { acc[r][c] = V(C(0)); });
  });
  for (; dim >= w; dim -= w) {
    for (int k = 0; k < w; k += steps) {
      simd::unroll<steps>([&](auto i) __attribute__((always_inline)) {
        simd::multiply_add<Rows, width, C, Arch>(acc, queries + k + i, w, 1, keys + i * columns,
                                                 columns, 1);
      });
      keys += steps * columns;
    }
    queries += strip * w;
  }
  simd::multiply_add<Rows, width, C, Arch>(acc, queries, w, 1, keys, columns, dim);
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
      acc[r][c].store_aligned(scores + r * score_stride + c * w);
    });
  });
}

/// A worker's scratch for one task of at most `rows` rows.
template <class C, class Arch>
struct flash_scratch {
  static constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  static constexpr std::int64_t columns = simd::tile_shape<Arch>::template columns<C>;

  C* queries;                     // [strips][registers of key_dim][strip][lanes], scaled
  C* values;                      // [rows][padded value_dim], accumulated
  softmax_state<C, Arch>* state;  // [rows]
  row_weighting<C>* weighting;    // [rows]
  C* scores;                      // [strip][score_stride]
  C* key_panels;                  // [panels][key_dim][columns]
  C* value_panels;                // [padded value_dim / columns][block][columns]

  flash_scratch(scratch_layout& layout, std::int64_t rows, std::int64_t key_dim,
                std::int64_t value_dim) noexcept {
    const std::int64_t block = block_keys<C>(key_dim, value_dim);
    const std::int64_t width = round_up(value_dim, columns);
    rows = round_up(rows, strip);
    queries = layout.take<C>(rows * round_up(key_dim, simd::lanes<C, Arch>));
    values = layout.take<C>(rows * width);
    state = layout.take<softmax_state<C, Arch>>(rows);
    weighting = layout.take<row_weighting<C>>(rows);
    scores = layout.take<C>(strip * score_stride);
    key_panels = layout.take<C>(round_up(block, columns) * key_dim);
    value_panels = layout.take<C>(block * width);
  }
};

/// out = out factor + weights values over runs of keys, for one row: `runs(add)` calls
/// `add(begin, end)` for each run in order. `weights` and `values` start at key `origin`. The same
/// chain as a strip's, less the terms of weight zero.
template <class C, class Arch, class B, class Runs>
SEQMIX_ALWAYS_INLINE void add_runs(std::int64_t origin, const C* weights, const B* values,
                                   std::int64_t step, C factor, C* out, Runs&& runs) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int width = simd::tile_shape<Arch>::width;
  constexpr int w = simd::lanes<C, Arch>;
  V acc[1][width];
  simd::unroll<width>([&](auto c) __attribute__((always_inline)) { acc[0][c] = V(C(0)); });
  runs([&](std::int64_t begin, std::int64_t end) __attribute__((always_inline)) {
    simd::multiply_add<1, width, C, Arch>(acc, weights + (begin - origin), 0, 1,
                                          values + (begin - origin) * step, step, end - begin);
  });
  simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
    simd::fma(V::load_aligned(out + c * w), V(factor), acc[0][c]).store_aligned(out + c * w);
  });
}

/// One row's two runs of visible keys.
template <class C, class Arch, class B>
void add_visible(clipped_ranges keys, std::int64_t origin, const C* weights, const B* values,
                 std::int64_t step, C factor, C* out) noexcept {
  add_runs<C, Arch>(origin, weights, values, step, factor, out,
                    [&](const auto& add) __attribute__((always_inline)) {
                      add(keys.sink_begin, keys.sink_end);
                      add(keys.begin, keys.end);
                    });
}

/// The same for a row of which a mask functor hides some keys: the runs of those that it sees.
template <class C, class Arch, class Terms, class B>
void add_seen(const row_geometry& rows, const Terms& terms, std::int64_t r, clipped_ranges keys,
              std::int64_t origin, const C* weights, const B* values, std::int64_t step, C factor,
              C* out) noexcept {
  add_runs<C, Arch>(origin, weights, values, step, factor, out,
                    [&](const auto& add) __attribute__((always_inline)) {
                      const auto seen_of = [&](std::int64_t begin, std::int64_t end) {
                        for (std::int64_t j = begin; j < end;) {
                          std::int64_t stop = j;
                          while (stop < end && terms.sees(rows, r, stop)) {
                            ++stop;
                          }
                          add(j, stop);
                          j = stop + 1;
                        }
                      };
                      seen_of(keys.sink_begin, keys.sink_end);
                      seen_of(keys.begin, keys.end);
                    });
}

/// Scores that a mask functor hides become `hidden`.
template <class C, class Terms>
void hide_scores(const row_geometry& rows, const Terms& terms, std::int64_t r, C* score,
                 clipped_ranges keys, std::int64_t from, C hidden) noexcept {
  for (std::int64_t j = keys.sink_begin; j < keys.sink_end; ++j) {
    score[j - from] = terms.sees(rows, r, j) ? score[j - from] : hidden;
  }
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    score[j - from] = terms.sees(rows, r, j) ? score[j - from] : hidden;
  }
}

/// How many keys row r sees.
template <class Terms>
std::int64_t visible_keys(const row_geometry& rows, const Terms& terms, std::int64_t r) noexcept {
  const key_ranges visible = rows.visible(r);
  if constexpr (Terms::masks) {
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < visible.end || j < visible.sink_end; ++j) {
      count += visible.contains(j) && terms.sees(rows, r, j) ? 1 : 0;
    }
    return count;
  }
  return visible.count();
}

/// What row r's query is multiplied by when it is packed: scores then are exponents of two.
template <class C, class Terms>
C query_factor(const row_geometry& rows, const Terms& terms, std::int64_t r) noexcept {
  double factor = rows.problem.scale * std::numbers::log2e;
  if (rows.problem.log_length) {
    const std::int64_t visible = visible_keys(rows, terms, r);
    factor *= visible > 1 ? std::log(static_cast<double>(visible)) : 0;
  }
  return static_cast<C>(factor);
}

/// Scores [from, to) of row r, padded to whole registers, to weights in place; `hide(value)` writes
/// what the row does not see. Returns the factor by which what the row has accumulated shrinks.
template <class C, class Arch, class Hide>
SEQMIX_ALWAYS_INLINE C weigh(const attention_normaliser& how, key_pass pass, C* score,
                             std::int64_t n, softmax_state<C, Arch>& state,
                             const row_weighting<C>& row, Hide&& hide) noexcept {
  if (how.weights == attention_weights::softmax) {
    hide(-std::numeric_limits<C>::infinity());
    return softmax_pass<C, Arch>(pass, score, n, state, row);
  }
  // Not every rule takes minus infinity to zero: what is hidden is overwritten behind it.
  weigh_scores<C, Arch>(how, score, n);
  hide(C(0));
  sum_weights<C, Arch>(pass, score, n, state, row);
  return C(1);
}

/// What the mask functor, if there is one, leaves of a strip's cover.
template <class Terms>
SEQMIX_ALWAYS_INLINE block_cover with_functor(block_cover c, const row_geometry& rows,
                                              const Terms& terms, std::int64_t first,
                                              std::int64_t count) noexcept {
  if constexpr (Terms::masks) {
    if (!c.empty()) {
      switch (terms.classify(rows, first, count, c.begin, c.end)) {
        case block_visibility::empty:
          c.end = c.begin;
          break;
        case block_visibility::partial:
          c.full = false;
          c.functor = true;
          break;
        case block_visibility::full:
          break;
      }
    }
  }
  return c;
}

/// out = out factor + weights values for a strip over keys that all its rows may add. The sum over
/// one block starts at zero: rounding grows with the block and the number of blocks, not with S.
template <int Rows, class C, class Arch, class B>
[[gnu::noinline]] void add_block(const C* weights, const B* values, std::int64_t step,
                                 std::int64_t keys, const C* factor, C* out,
                                 std::int64_t out_step) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int width = simd::tile_shape<Arch>::width;
  constexpr int w = simd::lanes<C, Arch>;
  V acc[Rows][width];
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    simd::unroll<width>([&](auto c) __attribute__((always_inline)) { acc[r][c] = V(C(0)); });
  });
  simd::multiply_add<Rows, width, C, Arch>(acc, weights, score_stride, 1, values, step, keys);
  simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
    simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
      C* at = out + r * out_step + c * w;
      simd::fma(V::load_aligned(at), V(factor[r]), acc[r][c]).store_aligned(at);
    });
  });
}

/// One strip of `Rows` rows (the last strip's missing rows are zero queries) over keys
/// [cover.begin, cover.end) of the packed block that starts at key `block_begin`.
template <int Rows, class C, class Arch, class Terms>
void flash_strip(const row_geometry& rows, const Terms& terms, const flash_scratch<C, Arch>& s,
                 key_pass pass, std::int64_t task_begin, std::int64_t first, std::int64_t count,
                 std::int64_t block_begin, block_cover cover, bool finite_values) noexcept {
  constexpr std::int64_t columns = flash_scratch<C, Arch>::columns;
  constexpr int w = simd::lanes<C, Arch>;
  const std::int64_t key_dim = rows.problem.key_dim();
  const std::int64_t value_width = round_up(rows.problem.value_dim(), columns);
  const std::int64_t block = block_keys<C>(key_dim, rows.problem.value_dim());
  const std::int64_t at = first - task_begin;  // a multiple of `strip`
  const C* queries = s.queries + at * round_up(key_dim, w);

  // Scores of the panels that hold the hull.
  const std::int64_t left = (cover.begin - block_begin) / columns * columns;
  const std::int64_t right = round_up(cover.end - block_begin, columns);
  for (std::int64_t j = left; j < right; j += columns) {
    score_panel<Rows, C, Arch>(queries, s.key_panels + j * key_dim, key_dim, s.scores + (j - left));
  }

  // Mask, softmax; `factor` shrinks what the row has accumulated.
  const std::int64_t from = block_begin + left;
  const std::int64_t to = block_begin + right;
  C factor[Rows];
  const attention_normaliser& how = rows.problem.normaliser;
  const bool nothing_hidden = cover.full && cover.begin == from && cover.end == to;
  const bool together = how.weights == attention_weights::softmax && pass == key_pass::only;
  for (std::int64_t r = 0; r < Rows; ++r) {
    C* score = s.scores + r * score_stride;
    if (r < count && terms.any) {
      terms.apply(rows, first + r, score, from, to);
    }
    const auto hide = [&](C hidden) __attribute__((always_inline)) {
      if (r >= count || nothing_hidden) {
        return;
      }
      if (cover.full) {
        mask_scores<C, Arch>(score, {{0, cover.begin, cover.end}, from, to}, from, to, hidden);
        return;
      }
      const clipped_ranges seen(rows.visible(first + r), from, cover.end);
      mask_scores<C, Arch>(score, seen, from, to, hidden);
      if constexpr (Terms::masks) {
        if (cover.functor) {
          hide_scores(rows, terms, first + r, score, seen, from, hidden);
        }
      }
    };
    if (together) {
      hide(-std::numeric_limits<C>::infinity());
    } else {
      factor[r] = weigh<C, Arch>(how, pass, score, right - left, s.state[at + r],
                                 s.weighting[at + r], hide);
    }
  }
  if (together) {
    softmax_strip<Rows, C, Arch>(s.scores, score_stride, right - left, s.state + at, factor);
  }
  if (pass == key_pass::maximum || pass == key_pass::sums) {
    return;
  }

  // Weighted values, one panel of columns at a time.
  const C* weights = s.scores + (cover.begin - from);
  for (std::int64_t c0 = 0; c0 < value_width; c0 += columns) {
    C* out = s.values + at * value_width + c0;
    const C* panel = s.value_panels + c0 * block + (cover.begin - block_begin) * columns;
    if (cover.full || finite_values) {
      add_block<Rows, C, Arch>(weights, panel, columns, cover.end - cover.begin, factor, out,
                               value_width);
      continue;
    }
    // A weight of zero times a non-finite value is NaN: each row adds the keys that it sees, alone.
    for (std::int64_t r = 0; r < count; ++r) {
      const clipped_ranges c(rows.visible(first + r), cover.begin, cover.end);
      if constexpr (Terms::masks) {
        if (cover.functor) {
          add_seen<C, Arch>(rows, terms, first + r, c, cover.begin, weights + r * score_stride,
                            panel, columns, factor[r], out + r * value_width);
          continue;
        }
      }
      add_visible<C, Arch>(c, cover.begin, weights + r * score_stride, panel, columns, factor[r],
                           out + r * value_width);
    }
  }
}

/// Calls `f(constant<Rows>)` with the smallest strip kernel that holds `count` rows.
template <class Arch, class F>
SEQMIX_ALWAYS_INLINE void with_strip_rows(std::int64_t count, F&& f) noexcept {
  constexpr int full = simd::tile_shape<Arch>::rows;
  if (count > full / 2) {
    f(std::integral_constant<int, full>{});
  } else if (count > full / 6) {
    f(std::integral_constant<int, full / 2>{});
  } else {
    f(std::integral_constant<int, full / 6>{});
  }
}

/// All strips of a task over the packed block of keys [begin, end).
template <class C, class Arch, class Terms>
void flash_block(const row_geometry& rows, const Terms& terms, const flash_scratch<C, Arch>& s,
                 key_pass pass, std::int64_t row_begin, std::int64_t row_end, std::int64_t begin,
                 std::int64_t end, bool finite_values) noexcept {
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  for (std::int64_t first = row_begin; first < row_end; first += strip) {
    const std::int64_t count = row_end - first < strip ? row_end - first : strip;
    const block_cover c =
        with_functor(cover(rows, first, count, begin, end), rows, terms, first, count);
    if (!c.empty()) {
      with_strip_rows<Arch>(count, [&](auto strip_rows) {
        flash_strip<decltype(strip_rows)::value, C, Arch>(rows, terms, s, pass, row_begin, first,
                                                          count, begin, c, finite_values);
      });
    }
  }
}

/// Between the passes: what a row's last pass needs of its sums. Softmax keeps them, with the sink;
/// re-weighting starts new ones.
template <class C, class Arch, class Rows, class Terms>
void settle_row(const Rows& rows, const Terms& terms, std::int64_t r, int passes,
                softmax_state<C, Arch>& state, row_weighting<C>& row) noexcept {
  const attention_normaliser& how = rows.problem.normaliser;
  const C sum = simd::sum_lanes<C, Arch>(state.sum);
  if (how.weights == attention_weights::softmax) {
    const row_total<C> t = rows.template total<C, Arch>(r, state.maximum, sum);
    alignas(64) C lanes[simd::lanes<C, Arch>] = {t.sum};
    state.maximum = t.maximum;
    state.sum = simd::vec<C, Arch>::load_aligned(lanes);
    row.factor = passes == 2 || t.sum == C(0) ? C(1) : C(1) / t.sum;
  } else {
    row = reweighting(how.sharpen, state.maximum, sum, visible_keys(rows, terms, r),
                      rows.place_of_row(r));
    state = softmax_state<C, Arch>{};
  }
}

/// The queries of a strip, scaled: `count` rows from `first` on, missing ones zero.
template <class C, class Arch, class Rows, class Terms>
void pack_queries(const Rows& rows, const Terms& terms, std::int64_t first, std::int64_t count,
                  C* out) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  constexpr int w = simd::lanes<C, Arch>;
  const std::int64_t key_dim = rows.problem.key_dim();
  for (std::int64_t r = 0; r < strip; ++r, out += w) {
    const auto query = rows.query(r < count ? first + r : first);
    const V factor(r < count ? query_factor<C>(rows, terms, first + r) : C(0));
    const std::int64_t whole =
        r < count ? simd::whole_lanes<C, Arch>(query.element, 0, key_dim, key_dim) : 0;
    for (std::int64_t d = 0; d < whole; d += w) {
      (simd::load<C, Arch>(query.data + d) * factor).store_aligned(out + d * strip);
    }
    for (std::int64_t d = whole; d < key_dim; d += w) {
      const V x =
          r < count ? simd::load_strided<C, Arch>(query.data, query.element, d, key_dim) : V(C(0));
      (x * factor).store_aligned(out + d * strip);
    }
  }
}

/// What a task's rows see of one block of keys, and whether its values are all finite.
struct packed_block {
  bool empty;
  bool finite = true;
};

/// Packs the keys [begin, end), one block, as far as rows [row_begin, row_end) see them, and in
/// passes that need them their values.
template <class C, class Arch, class Rows, class Terms>
packed_block pack_block(const Rows& rows, const Terms& terms, key_pass pass, std::int64_t row_begin,
                        std::int64_t row_end, std::int64_t begin, std::int64_t end,
                        const flash_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t columns = flash_scratch<C, Arch>::columns;
  const std::int64_t key_dim = rows.problem.key_dim();
  const std::int64_t value_dim = rows.problem.value_dim();
  // The hull over all rows decides what is packed; most often it is the whole block or nothing.
  const block_cover all = with_functor(cover(rows, row_begin, row_end - row_begin, begin, end),
                                       rows, terms, row_begin, row_end - row_begin);
  packed_block packed{all.empty()};
  if (packed.empty) {
    return packed;
  }
  const std::int64_t from = begin + (all.begin - begin) / columns * columns;
  rows.with_rows(
      from, all.end,
      [&](const auto& keys) {
        pack_keys<C, Arch>(keys, all.end - from, key_dim, s.key_panels + (from - begin) * key_dim);
      },
      [&](const auto& values) {
        if (pass == key_pass::only || pass == key_pass::weights) {
          packed.finite = pack_values<C, Arch>(values, all.end - from, value_dim,
                                               block_keys<C>(key_dim, value_dim),
                                               s.value_panels + (from - begin) * columns);
        }
      });
  return packed;
}

/// One pass of rows [row_begin, row_end) over the keys.
template <class C, class Arch, class Rows, class Terms>
void flash_pass(const Rows& rows, const Terms& terms, key_pass pass, std::int64_t row_begin,
                std::int64_t row_end, const flash_scratch<C, Arch>& s) noexcept {
  const std::int64_t block = block_keys<C>(rows.problem.key_dim(), rows.problem.value_dim());
  const std::int64_t keys = rows.sequence.mask.keys;
  for (std::int64_t begin = 0; begin < keys; begin += block) {
    const std::int64_t end = begin + block < keys ? begin + block : keys;
    const packed_block packed =
        pack_block<C, Arch>(rows, terms, pass, row_begin, row_end, begin, end, s);
    if (!packed.empty) {
      flash_block<C, Arch>(rows, terms, s, pass, row_begin, row_end, begin, end, packed.finite);
    }
  }
}

/// Packed queries and empty sums of rows [first, last), at the beginning of the scratch.
template <class C, class Arch, class Rows, class Terms>
void start_rows(const Rows& rows, const Terms& terms, std::int64_t first, std::int64_t last,
                const flash_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  const std::int64_t key_width = round_up(rows.problem.key_dim(), simd::lanes<C, Arch>);
  const std::int64_t value_width =
      round_up(rows.problem.value_dim(), flash_scratch<C, Arch>::columns);
  for (std::int64_t r = first; r < last; r += strip) {
    pack_queries<C, Arch>(rows, terms, r, last - r < strip ? last - r : strip,
                          s.queries + (r - first) * key_width);
  }
  const std::int64_t padded = round_up(last - first, strip);
  for (std::int64_t r = 0; r < padded; ++r) {
    s.state[r] = softmax_state<C, Arch>{};
    s.weighting[r] = row_weighting<C>{};
  }
  for (std::int64_t i = 0; i < padded * value_width; ++i) {
    s.values[i] = C(0);
  }
}

/// The results of rows [first, last), whose sums are at the beginning of the scratch.
template <class C, class Arch, class Rows, class Terms>
void finish_rows(const Rows& rows, const Terms& terms, int passes, std::int64_t first,
                 std::int64_t last, const flash_scratch<C, Arch>& s) noexcept {
  constexpr int strip = static_cast<int>(flash_scratch<C, Arch>::strip);
  const std::int64_t value_width =
      round_up(rows.problem.value_dim(), flash_scratch<C, Arch>::columns);
  const attention_normaliser& how = rows.problem.normaliser;
  for (std::int64_t begin = 0; begin < last - first; begin += strip) {
    alignas(64) C sums[padded_rows<strip, C, Arch>];
    fold_sums<strip, C, Arch>(s.state + begin, sums);
    for (std::int64_t r = begin; r < begin + strip && r < last - first; ++r) {
      const C sum = sums[r - begin];
      // Passes before the last have brought in the sink, and three passes have divided.
      const row_total<C> t = passes == 1
                                 ? rows.template total<C, Arch>(first + r, s.state[r].maximum, sum)
                                 : row_total<C>{s.state[r].maximum, sum};
      const std::int64_t visible = how.mean ? visible_keys(rows, terms, first + r) : 0;
      const C divisor = passes == 3 ? C(1) : divisor_of(how, t.sum, visible);
      rows.template finish<C, Arch>(first + r, t, divisor, s.values + r * value_width);
    }
  }
}

/// One pass of rows [row_begin, row_end) over keys that are one block: strip after strip from its
/// queries to its results, which stay in the first-level cache on their way.
template <class C, class Arch, class Rows, class Terms>
void flash_one_block(const Rows& rows, const Terms& terms, std::int64_t row_begin,
                     std::int64_t row_end, const flash_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  const std::int64_t keys = rows.sequence.mask.keys;
  const packed_block packed =
      pack_block<C, Arch>(rows, terms, key_pass::only, row_begin, row_end, 0, keys, s);
  for (std::int64_t first = row_begin; first < row_end; first += strip) {
    const std::int64_t last = first + strip < row_end ? first + strip : row_end;
    start_rows<C, Arch>(rows, terms, first, last, s);
    if (!packed.empty) {
      flash_block<C, Arch>(rows, terms, s, key_pass::only, first, last, 0, keys, packed.finite);
    }
    finish_rows<C, Arch>(rows, terms, 1, first, last, s);
  }
}

/// Rows [row_begin, row_end) of one key-value head in `passes` over the keys; row_begin is a
/// multiple of the strip.
template <class Terms, class C, class Arch, class Rows>
void flash_task(const Rows& rows, int passes, std::int64_t row_begin, std::int64_t row_end,
                const flash_scratch<C, Arch>& s) noexcept {
  const Terms terms(rows.problem);
  if (passes == 1 &&
      rows.sequence.mask.keys <= block_keys<C>(rows.problem.key_dim(), rows.problem.value_dim())) {
    flash_one_block<C, Arch>(rows, terms, row_begin, row_end, s);
    return;
  }
  start_rows<C, Arch>(rows, terms, row_begin, row_end, s);
  const auto pass_over = [&](key_pass pass) {
    flash_pass<C, Arch>(rows, terms, pass, row_begin, row_end, s);
  };
  if (passes == 3) {
    pass_over(key_pass::maximum);
  }
  if (passes == 1) {
    pass_over(key_pass::only);
  } else {
    pass_over(key_pass::sums);
    for (std::int64_t r = 0; r < row_end - row_begin; ++r) {
      settle_row<C, Arch>(rows, terms, row_begin + r, passes, s.state[r], s.weighting[r]);
    }
    pass_over(key_pass::weights);
  }
  finish_rows<C, Arch>(rows, terms, passes, row_begin, row_end, s);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
