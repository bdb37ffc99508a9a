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

/// `multiply_add` with four steps in a row, which hides what its loop costs: as many branches
/// fewer, and the last one of a short loop is foreseen.
template <int Rows, int Width, class C, class Arch>
SEQMIX_ALWAYS_INLINE void multiply_add_by_four(simd::vec<C, Arch> (&acc)[Rows][Width], const C* a,
                                               std::int64_t a_row, std::int64_t a_step, const C* b,
                                               std::int64_t b_step, std::int64_t n) noexcept {
  for (; n >= 4; n -= 4) {
    simd::unroll<4>([&](auto i) __attribute__((always_inline)) {
      simd::multiply_add<Rows, Width, C, Arch>(acc, a + i * a_step, a_row, a_step, b + i * b_step,
                                               b_step, 1);
    });
    a += 4 * a_step;
    b += 4 * b_step;
  }
  simd::multiply_add<Rows, Width, C, Arch>(acc, a, a_row, a_step, b, b_step, n);
}

/// A worker's scratch for one task of at most `rows` rows.
template <class C, class Arch>
struct flash_scratch {
  static constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  static constexpr std::int64_t columns = simd::tile_shape<Arch>::template columns<C>;

  C* queries;                     // [strips][key_dim][strip], scaled, and a register behind
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
    queries = layout.take<C>(rows * key_dim + simd::lanes<C, Arch>);
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
SEQMIX_ALWAYS_INLINE void add_block(const C* weights, const B* values, std::int64_t step,
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
  using V = simd::vec<C, Arch>;
  constexpr int width = simd::tile_shape<Arch>::width;
  constexpr std::int64_t columns = flash_scratch<C, Arch>::columns;
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  constexpr int w = simd::lanes<C, Arch>;
  const std::int64_t key_dim = rows.problem.key_dim();
  const std::int64_t value_width = round_up(rows.problem.value_dim(), columns);
  const std::int64_t block = block_keys<C>(key_dim, rows.problem.value_dim());
  const std::int64_t at = first - task_begin;  // a multiple of `strip`
  const C* queries = s.queries + at * key_dim;

  // Scores of the panels that hold the hull.
  const std::int64_t left = (cover.begin - block_begin) / columns * columns;
  const std::int64_t right = round_up(cover.end - block_begin, columns);
  for (std::int64_t j = left; j < right; j += columns) {
    V acc[Rows][width];
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      simd::unroll<width>([&](auto c) __attribute__((always_inline)) { acc[r][c] = V(C(0)); });
    });
    multiply_add_by_four<Rows, width, C, Arch>(acc, queries, 1, strip, s.key_panels + j * key_dim,
                                               columns, key_dim);
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      simd::unroll<width>([&](auto c) __attribute__((always_inline)) {
        acc[r][c].store_aligned(s.scores + r * score_stride + (j - left) + c * w);
      });
    });
  }

  // Mask, softmax; `factor` shrinks what the row has accumulated.
  const std::int64_t from = block_begin + left;
  const std::int64_t to = block_begin + right;
  C factor[Rows];
  const attention_normaliser& how = rows.problem.normaliser;
  const bool together = how.weights == attention_weights::softmax && pass == key_pass::only;
  for (std::int64_t r = 0; r < Rows; ++r) {
    C* score = s.scores + r * score_stride;
    if (r < count && terms.any) {
      terms.apply(rows, first + r, score, from, to);
    }
    const auto hide = [&](C hidden) __attribute__((always_inline)) {
      if (r >= count) {
        return;
      }
      if (cover.full) {
        mask_scores(score, {{0, cover.begin, cover.end}, from, to}, from, to, hidden);
        return;
      }
      const clipped_ranges seen(rows.visible(first + r), from, cover.end);
      mask_scores(score, seen, from, to, hidden);
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

/// One pass of rows [row_begin, row_end) over the keys.
template <class Terms, class C, class Arch, class TQ, class TK, class TV, class TO>
void flash_pass(const query_rows<TQ, TK, TV, TO>& rows, const Terms& terms, key_pass pass,
                std::int64_t row_begin, std::int64_t row_end,
                const flash_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t columns = flash_scratch<C, Arch>::columns;
  const std::int64_t key_dim = rows.problem.key_dim();
  const std::int64_t value_dim = rows.problem.value_dim();
  const std::int64_t block = block_keys<C>(key_dim, value_dim);
  for (std::int64_t begin = 0; begin < rows.sequence.mask.keys; begin += block) {
    const std::int64_t end =
        begin + block < rows.sequence.mask.keys ? begin + block : rows.sequence.mask.keys;
    // The hull over all rows decides what is packed; most often it is the whole block or nothing.
    const block_cover all = with_functor(cover(rows, row_begin, row_end - row_begin, begin, end),
                                         rows, terms, row_begin, row_end - row_begin);
    if (all.empty()) {
      continue;
    }
    const std::int64_t from = begin + (all.begin - begin) / columns * columns;
    bool finite = true;
    rows.with_rows(
        from, all.end,
        [&](const auto& keys) {
          pack_keys<C, Arch>(keys, all.end - from, key_dim, static_cast<int>(columns),
                             s.key_panels + (from - begin) * key_dim);
        },
        [&](const auto& values) {
          if (pass == key_pass::only || pass == key_pass::weights) {
            finite =
                pack_values<C, Arch>(values, all.end - from, value_dim, static_cast<int>(columns),
                                     block, s.value_panels + (from - begin) * columns);
          }
        });
    flash_block<C, Arch>(rows, terms, s, pass, row_begin, row_end, begin, end, finite);
  }
}

/// The queries of rows [row_begin, row_end), scaled, in strips; the last one's missing rows are
/// zero.
template <class C, class Arch, class Rows, class Terms>
void pack_queries(const Rows& rows, const Terms& terms, std::int64_t row_begin,
                  std::int64_t row_end, C* out) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  constexpr int w = simd::lanes<C, Arch>;
  constexpr int squares = (strip + w - 1) / w;
  const std::int64_t key_dim = rows.problem.key_dim();
  for (std::int64_t first = row_begin; first < row_end; first += strip) {
    const std::int64_t count = row_end - first < strip ? row_end - first : strip;
    decltype(rows.query(0)) query[strip];
    C factor[strip];
    for (std::int64_t r = 0; r < strip; ++r) {
      const std::int64_t row = r < count ? first + r : first;
      query[r] = rows.query(row);
      factor[r] = query_factor<C>(rows, terms, row);
    }
    for (std::int64_t d = 0; d < key_dim; d += w) {
      V x[squares][w];
      simd::unroll<squares>([&](auto s) __attribute__((always_inline)) {
        simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
          constexpr int r = s * w + i;
          if constexpr (r < strip) {
            x[s][i] = r < count ? simd::load_strided<C, Arch>(query[r].data, query[r].element, d,
                                                              key_dim) *
                                      V(factor[r])
                                : V(C(0));
          } else {
            x[s][i] = V(C(0));
          }
        });
        simd::transpose<C, Arch>(x[s]);
      });
      // Registers reach beyond a strip's rows: into what is written next, or behind the last strip.
      const std::int64_t rest = key_dim - d;
      simd::unroll<w>([&](auto i) __attribute__((always_inline)) {
        if (i < rest) {
          simd::unroll<squares>([&](auto s) __attribute__((always_inline)) {
            x[s][i].store_unaligned(out + (d + i) * strip + s * w);
          });
        }
      });
    }
    out += strip * key_dim;
  }
}

/// Rows [row_begin, row_end) of one key-value head in `passes` over the keys; row_begin is a
/// multiple of the strip.
template <class Terms, class C, class Arch, class TQ, class TK, class TV, class TO>
void flash_task(const query_rows<TQ, TK, TV, TO>& rows, int passes, std::int64_t row_begin,
                std::int64_t row_end, const flash_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t strip = flash_scratch<C, Arch>::strip;
  const std::int64_t value_width =
      round_up(rows.problem.value_dim(), flash_scratch<C, Arch>::columns);
  const std::int64_t padded = round_up(row_end - row_begin, strip);
  const attention_normaliser& how = rows.problem.normaliser;

  const Terms terms(rows.problem);
  pack_queries<C, Arch>(rows, terms, row_begin, row_end, s.queries);
  for (std::int64_t r = 0; r < padded; ++r) {
    s.state[r] = softmax_state<C, Arch>{};
    s.weighting[r] = row_weighting<C>{};
  }
  for (std::int64_t i = 0; i < padded * value_width; ++i) {
    s.values[i] = C(0);
  }

  if (passes == 3) {
    flash_pass<Terms, C, Arch>(rows, terms, key_pass::maximum, row_begin, row_end, s);
  }
  if (passes == 1) {
    flash_pass<Terms, C, Arch>(rows, terms, key_pass::only, row_begin, row_end, s);
  } else {
    flash_pass<Terms, C, Arch>(rows, terms, key_pass::sums, row_begin, row_end, s);
    for (std::int64_t r = 0; r < row_end - row_begin; ++r) {
      settle_row<C, Arch>(rows, terms, row_begin + r, passes, s.state[r], s.weighting[r]);
    }
    flash_pass<Terms, C, Arch>(rows, terms, key_pass::weights, row_begin, row_end, s);
  }

  for (std::int64_t r = 0; r < row_end - row_begin; ++r) {
    const C sum = simd::sum_lanes<C, Arch>(s.state[r].sum);
    // Passes before the last have brought in the sink, and three passes have divided.
    const row_total<C> t =
        passes == 1 ? rows.template total<C, Arch>(row_begin + r, s.state[r].maximum, sum)
                    : row_total<C>{s.state[r].maximum, sum};
    const std::int64_t visible = how.mean ? visible_keys(rows, terms, row_begin + r) : 0;
    const C divisor = passes == 3 ? C(1) : divisor_of(how, t.sum, visible);
    rows.template finish<C, Arch>(row_begin + r, t, divisor, s.values + r * value_width);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
