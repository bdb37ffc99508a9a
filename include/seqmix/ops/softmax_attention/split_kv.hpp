// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/flash.hpp>
#include <seqmix/simd/dot.hpp>

// The algorithm for few query rows against many keys (decode). The keys of a sequence are cut into
// granules; a task streams one granule past all rows of one key-value head, reading keys and values
// where they lie, and leaves a partial result; partial results merge in the order of the granules.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Query rows of a key-value head up to which this algorithm is the default: where it and the tiled
/// one take the same time, measured with AVX2 and AVX-512 at D = 64 and 128.
inline constexpr std::int64_t split_kv_rows = 40;
/// Query rows that it takes at most, when it is pinned.
inline constexpr std::int64_t split_kv_most_rows = 128;
/// Keys of which scores are held at a time.
inline constexpr std::int64_t split_kv_block = 64;

/// Keys in a granule: from the sequence's own length alone, so that its bits depend on nothing
/// else.
constexpr std::int64_t granule_keys(std::int64_t keys) noexcept {
  std::int64_t granule = 64;
  while (granule < 512 && granule * 16 < keys) {
    granule *= 2;
  }
  return granule;
}

constexpr std::int64_t granule_count(std::int64_t keys) noexcept {
  const std::int64_t granule = granule_keys(keys);
  return keys == 0 ? 1 : (keys + granule - 1) / granule;
}

/// A worker's scratch for one granule.
template <class C, class Arch>
struct split_scratch {
  static constexpr std::int64_t columns = simd::tile_shape<Arch>::template columns<C>;

  std::int64_t key_width;         // padded key_dim
  std::int64_t value_width;       // padded value_dim
  C* queries;                     // [rows][key_width], scaled
  C* values;                      // [rows][value_width], accumulated
  softmax_state<C, Arch>* state;  // [rows]
  C* scores;                      // [strip][score_stride]
  C* key_rows;                    // [block][key_width], where rows cannot be read in place
  C* value_rows;                  // [block][value_width], likewise

  split_scratch(scratch_layout& layout, std::int64_t rows, std::int64_t key_dim,
                std::int64_t value_dim) noexcept
      : key_width(round_up(key_dim, simd::lanes<C, Arch>)),
        value_width(round_up(value_dim, columns)) {
    rows = round_up(rows, simd::tile_shape<Arch>::rows);
    queries = layout.take<C>(rows * key_width);
    values = layout.take<C>(rows * value_width);
    state = layout.take<softmax_state<C, Arch>>(rows);
    scores = layout.take<C>(simd::tile_shape<Arch>::rows * score_stride);
    key_rows = layout.take<C>(split_kv_block * key_width);
    value_rows = layout.take<C>(split_kv_block * value_width);
  }
};

/// Elements of one row of a partial result: maximum, weight sum, and the values padded to whole
/// registers of any architecture.
constexpr std::int64_t partial_width(std::int64_t value_dim) noexcept {
  return 2 + round_up(value_dim, 16);
}

/// Rows that can be read as they lie: a unit stride inside a row of whole registers.
template <class T>
struct dense_rows {
  const T* data;
  std::int64_t step;
};

/// Writes `hidden` over row r's scores of the keys [begin, padded) that it does not see, and of
/// those from `end` on, which are none.
template <class C, class Arch, class Terms>
SEQMIX_ALWAYS_INLINE void hide_unseen(const row_geometry& rows, const Terms& terms, block_cover c,
                                      std::int64_t r, C* score, std::int64_t begin,
                                      std::int64_t end, std::int64_t padded, C hidden) noexcept {
  const clipped_ranges seen(rows.visible(r), begin, end);
  mask_scores<C, Arch>(score, seen, begin, padded, hidden);
  if constexpr (Terms::masks) {
    if (c.functor) {
      hide_scores(rows, terms, r, score, seen, begin, hidden);
    }
  }
}

/// `Rows` rows against the keys [begin, end) of one block; `keys` and `values` start at begin.
template <int Rows, class C, class Arch, class Terms, class K, class V, class F>
void split_strip(const row_geometry& rows, const Terms& terms, const split_scratch<C, Arch>& s,
                 std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end,
                 dense_rows<K> keys, dense_rows<V> values, F&& before) noexcept {
  constexpr int w = simd::lanes<C, Arch>;
  constexpr std::int64_t columns = split_scratch<C, Arch>::columns;
  const block_cover c =
      with_functor(cover(rows, first, count, begin, end), rows, terms, first, count);
  if (c.empty()) {
    return;
  }
  simd::dot_rows<C, Arch>(s.queries + first * s.key_width, s.key_width, count, keys.data, keys.step,
                          end - begin, s.key_width, s.scores, score_stride, before);
  C factor[Rows];
  for (std::int64_t r = 0; r < Rows; ++r) {
    C* score = s.scores + r * score_stride;
    factor[r] = C(1);
    if (r < count) {
      const std::int64_t padded = round_up(end - begin, w);
      if (terms.any) {
        terms.apply(rows, first + r, score, begin, begin + padded);
      }
      const auto hide = [&](C hidden) __attribute__((always_inline)) {
        hide_unseen<C, Arch>(rows, terms, c, first + r, score, begin, end, begin + padded, hidden);
      };
      factor[r] = weigh<C, Arch>(rows.problem.normaliser, key_pass::only, score, padded,
                                 s.state[first + r], row_weighting<C>{}, hide);
    }
  }
  for (std::int64_t c0 = 0; c0 < s.value_width; c0 += columns) {
    C* out = s.values + first * s.value_width + c0;
    if (c.full) {
      add_block<Rows, C, Arch>(s.scores + (c.begin - begin),
                               values.data + (c.begin - begin) * values.step + c0, values.step,
                               c.end - c.begin, factor, out, s.value_width);
      continue;
    }
    // Rows with different masks add the keys that they see, each alone: a weight of zero would not
    // keep out a non-finite value.
    for (std::int64_t r = 0; r < count; ++r) {
      if constexpr (Terms::masks) {
        if (c.functor) {
          add_seen<C, Arch>(rows, terms, first + r,
                            clipped_ranges(rows.visible(first + r), begin, end), begin,
                            s.scores + r * score_stride, values.data + c0, values.step, factor[r],
                            out + r * s.value_width);
          continue;
        }
      }
      add_visible<C, Arch>(clipped_ranges(rows.visible(first + r), begin, end), begin,
                           s.scores + r * score_stride, values.data + c0, values.step, factor[r],
                           out + r * s.value_width);
    }
  }
}

/// All rows against the keys [from, to) of one block, of which `ahead` more keys follow.
template <class C, class Arch, class Terms, class K, class V>
void split_block(const row_geometry& rows, const Terms& terms, const split_scratch<C, Arch>& s,
                 std::int64_t from, std::int64_t to, dense_rows<K> keys, dense_rows<V> values,
                 std::int64_t ahead) noexcept {
  constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  for (std::int64_t first = 0; first < rows.count(); first += strip) {
    const std::int64_t count = rows.count() - first < strip ? rows.count() - first : strip;
    // While scores are computed, this block's values and the next one's keys are on their way.
    const auto before = [&](std::int64_t j) __attribute__((always_inline)) {
      if (first == 0) {
        prefetch_row(values.data + j * values.step, rows.problem.value_dim());
        if (j < ahead) {
          prefetch_row(keys.data + (split_kv_block + j) * keys.step, rows.problem.key_dim());
        }
      }
    };
    with_strip_rows<Arch>(count, [&](auto strip_rows) {
      split_strip<decltype(strip_rows)::value, C, Arch>(rows, terms, s, first, count, from, to,
                                                        keys, values, before);
    });
  }
}

/// `count` scaled queries from row `first` on.
template <class C, class Arch, class Rows, class Terms>
void copy_queries(const Rows& rows, const Terms& terms, std::int64_t first, std::int64_t count,
                  std::int64_t width, C* out) noexcept {
  for (std::int64_t r = first; r < first + count; ++r, out += width) {
    const auto query = rows.query(r);
    const C scale = query_factor<C>(rows, terms, r);
    for (std::int64_t d = 0; d < width; ++d) {
      out[d] = d < rows.problem.key_dim() ? widen<C>(query.data[d * query.element]) * scale : C(0);
    }
  }
}

/// Scaled queries, empty states.
template <class C, class Arch, class Rows, class Terms>
void start_split(const Rows& rows, const Terms& terms, const split_scratch<C, Arch>& s) noexcept {
  constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
  const std::int64_t padded = round_up(rows.count(), strip);
  copy_queries<C, Arch>(rows, terms, 0, rows.count(), s.key_width, s.queries);
  for (std::int64_t r = 0; r < padded; ++r) {
    s.state[r] = softmax_state<C, Arch>{};
  }
  for (std::int64_t i = 0; i < padded * s.value_width; ++i) {
    s.values[i] = C(0);
  }
  for (std::int64_t i = 0; i < strip * score_stride; ++i) {
    s.scores[i] = C(0);  // missing rows of a strip weigh nothing
  }
}

/// Streams one granule of keys past all rows and leaves their states and values in the scratch.
template <class Terms, class C, class Arch, class TQ, class TK, class TV, class TO>
void split_task(const query_rows<TQ, TK, TV, TO>& rows, std::int64_t granule,
                const split_scratch<C, Arch>& s) noexcept {
  const std::int64_t key_dim = rows.problem.key_dim();
  const std::int64_t value_dim = rows.problem.value_dim();
  const std::int64_t keys = rows.sequence.mask.keys;
  const std::int64_t begin = granule * granule_keys(keys);
  const std::int64_t end = begin + granule_keys(keys) < keys ? begin + granule_keys(keys) : keys;
  // Read where they lie only when both can be: numbers with unit strides and rows of whole
  // registers. A block that crosses pages is copied; the arithmetic is the same.
  constexpr bool numbers = !is_quantised<TK> && !is_quantised<TV>;
  const bool dense = rows.tensors.k.stride(3) == 1 && s.key_width == key_dim &&
                     rows.tensors.v.stride(3) == 1 && s.value_width == value_dim;
  const Terms terms(rows.problem);
  start_split(rows, terms, s);

  for (std::int64_t from = begin; from < end; from += split_kv_block) {
    const std::int64_t to = from + split_kv_block < end ? from + split_kv_block : end;
    if (with_functor(cover(rows, 0, rows.count(), from, to), rows, terms, 0, rows.count())
            .empty()) {
      continue;
    }
    const std::int64_t reach = rows.reach(from);
    if constexpr (numbers) {
      if (dense && reach >= to - from) {
        const strided_rows<TK> k = rows.keys(from);
        const strided_rows<TV> v = rows.values(from);
        split_block<C, Arch>(rows, terms, s, from, to, dense_rows<TK>{k.data, k.row},
                             dense_rows<TV>{v.data, v.row},
                             (from + reach < end ? from + reach : end) - to);
        continue;
      }
    }
    // Rows that no stride leads to are asked for ahead: values while keys are copied, and the next
    // block's keys while values are.
    const bool scattered = reach < to - from && dense;
    const auto ahead_of_key = [&](std::int64_t j) __attribute__((always_inline)) {
      if (scattered) {
        prefetch_row(rows.values(from + j).data, value_dim);
      }
    };
    const auto ahead_of_value = [&](std::int64_t j) __attribute__((always_inline)) {
      if (scattered && to + j < end) {
        prefetch_row(rows.keys(to + j).data, key_dim);
      }
    };
    rows.with_rows(
        from, to,
        [&](const auto& k) {
          copy_rows<C, Arch>(k, to - from, key_dim, s.key_width, s.key_rows, ahead_of_key);
        },
        [&](const auto& v) {
          copy_rows<C, Arch>(v, to - from, value_dim, s.value_width, s.value_rows, ahead_of_value);
        });
    split_block<C, Arch>(rows, terms, s, from, to, dense_rows<C>{s.key_rows, s.key_width},
                         dense_rows<C>{s.value_rows, s.value_width}, 0);
  }
}

/// Writes the results of row r from what all its keys add up to.
template <class Terms, class C, class Arch, class Rows>
void finish_split_row(const Rows& rows, std::int64_t r, C maximum, C sum,
                      const C* values) noexcept {
  const attention_normaliser& how = rows.problem.normaliser;
  const row_total<C> t = rows.template total<C, Arch>(r, maximum, sum);
  const std::int64_t visible = how.mean ? visible_keys(rows, Terms(rows.problem), r) : 0;
  rows.template finish<C, Arch>(r, t, divisor_of(how, t.sum, visible), values);
}

/// The same for all rows of a sequence that one granule holds whole.
template <class Terms, class C, class Arch, class Rows>
void finish_split(const Rows& rows, const split_scratch<C, Arch>& s) noexcept {
  for (std::int64_t r = 0; r < rows.count(); ++r) {
    finish_split_row<Terms, C, Arch>(rows, r, s.state[r].maximum,
                                     simd::sum_lanes<C, Arch>(s.state[r].sum),
                                     s.values + r * s.value_width);
  }
}

/// Keeps a granule's result: per row the maximum, the weight sum and the values.
template <class C, class Arch>
void store_partial(const split_scratch<C, Arch>& s, std::int64_t count, std::int64_t value_dim,
                   C* partial) noexcept {
  for (std::int64_t r = 0; r < count; ++r, partial += partial_width(value_dim)) {
    partial[0] = s.state[r].maximum;
    partial[1] = simd::sum_lanes<C, Arch>(s.state[r].sum);
    for (std::int64_t c = 0; c < value_dim; ++c) {
      partial[2 + c] = s.values[r * s.value_width + c];
    }
    for (std::int64_t c = value_dim; c < partial_width(value_dim) - 2; ++c) {
      partial[2 + c] = C(0);
    }
  }
}

/// Merges the granules' partial results of one row in their order, into the first granule's place.
/// `step` is the distance between granules. A granule in which the row saw nothing holds zeros and
/// adds nothing.
template <class C, class Arch>
void merge_partials(C* first, std::int64_t step, std::int64_t granules,
                    std::int64_t value_dim) noexcept {
  using V = simd::vec<C, Arch>;
  C maximum = -std::numeric_limits<C>::infinity();
  for (std::int64_t g = 0; g < granules; ++g) {
    maximum = first[g * step] > maximum ? first[g * step] : maximum;
  }
  const V reference(softmax_reference(maximum));
  for (std::int64_t g = 0; g < granules; ++g) {
    const C* part = first + g * step;
    alignas(64) C weight[simd::lanes<C, Arch>];
    simd::exp2<C, Arch>(V(part[0]) - reference).store_aligned(weight);
    for (std::int64_t c = 1; c < value_dim + 2; ++c) {
      first[c] = (g == 0 ? C(0) : first[c]) + weight[0] * part[c];
    }
  }
  first[0] = maximum;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
