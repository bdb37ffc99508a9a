// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <numbers>
#include <seqmix/ops/softmax_attention/pack.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>
#include <seqmix/ops/softmax_attention/typed.hpp>
#include <seqmix/ops/softmax_attention/weights.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The rows of one head of a paged cache from key `from` on, as `strided_rows`.
template <class T>
struct paged_rows {
  const softmax_attention_problem& problem;
  const attention_sequence& sequence;
  const tensor_view<const T, 4>& tensor;
  std::int64_t kv_head;
  std::int64_t from;
  std::int64_t element;

  SEQMIX_ALWAYS_INLINE paged_rows(const softmax_attention_problem& p, const attention_sequence& s,
                                  const tensor_view<const T, 4>& pool, std::int64_t head,
                                  std::int64_t first) noexcept
      : problem(p),
        sequence(s),
        tensor(pool),
        kv_head(head),
        from(first),
        element(pool.stride(3)) {}

  SEQMIX_ALWAYS_INLINE const T* at(std::int64_t i) const noexcept {
    const key_place place = place_of(problem, sequence, from + i);
    return &tensor(place.outer, place.row, kv_head, 0);
  }
};

/// The scales of such rows.
struct strided_scales {
  const float* data;
  std::int64_t step;
  SEQMIX_ALWAYS_INLINE float operator()(std::int64_t i) const noexcept { return data[i * step]; }
};
struct paged_scales {
  const softmax_attention_problem& problem;
  const attention_sequence& sequence;
  const tensor_view<const float, 3>& tensor;
  std::int64_t kv_head;
  std::int64_t from;

  SEQMIX_ALWAYS_INLINE float operator()(std::int64_t i) const noexcept {
    const key_place place = place_of(problem, sequence, from + i);
    return tensor(place.outer, place.row, kv_head);
  }
};

/// The query rows that share one key-value head of one sequence. Row r is token r / group of query
/// head kv_head * group + r % group: the heads of a group lie side by side, so that one pass over
/// the keys serves them all, and rows that are near each other have nearly the same mask.
struct row_geometry {
  const softmax_attention_problem& problem;
  attention_sequence sequence;
  std::int64_t index;  // of the sequence
  std::int64_t kv_head;
  std::int64_t group;

  SEQMIX_ALWAYS_INLINE row_geometry(const softmax_attention_problem& p, std::int64_t which,
                                    std::int64_t head) noexcept
      : problem(p),
        sequence(sequence_at(p, which)),
        index(which),
        kv_head(head),
        group(p.group()) {}

  SEQMIX_ALWAYS_INLINE std::int64_t count() const noexcept { return sequence.mask.queries * group; }
  /// Row r's token and query head; a branch costs less than a division.
  SEQMIX_ALWAYS_INLINE std::int64_t token_of(std::int64_t r) const noexcept {
    return group == 1 ? r : r / group;
  }
  SEQMIX_ALWAYS_INLINE std::int64_t head_of(std::int64_t r) const noexcept {
    return group == 1 ? kv_head : kv_head * group + r % group;
  }
  SEQMIX_ALWAYS_INLINE key_ranges visible(std::int64_t r) const noexcept {
    return sequence.mask.row(token_of(r));
  }
  /// The place of row r's query among the keys.
  SEQMIX_ALWAYS_INLINE std::int64_t place_of_row(std::int64_t r) const noexcept {
    return token_of(r) + sequence.mask.keys - sequence.mask.queries;
  }
};

/// The same with the tensors' element types: what packing and writing need. Kernels between the two
/// know the compute type only, and are compiled once for all element types.
template <class TQ, class TK, class TV, class TO>
struct query_rows : row_geometry {
  typed_attention<TQ, TK, TV, TO> tensors;

  SEQMIX_ALWAYS_INLINE query_rows(const softmax_attention_problem& p, std::int64_t which,
                                  std::int64_t head) noexcept
      : row_geometry(p, which, head), tensors(p) {}

  SEQMIX_ALWAYS_INLINE strided_rows<TQ> query(std::int64_t r) const noexcept {
    return {&tensors.q(sequence.batch, sequence.q_begin + token_of(r), head_of(r), 0), 0,
            tensors.q.stride(3)};
  }
  /// Where row r's results go.
  SEQMIX_ALWAYS_INLINE TO* output(std::int64_t r) const noexcept {
    return &tensors.o(sequence.batch, sequence.q_begin + token_of(r), head_of(r), 0);
  }
  /// How many keys lie at one stride from key `from` on: those left in the sequence, or in the
  /// page.
  SEQMIX_ALWAYS_INLINE std::int64_t reach(std::int64_t from) const noexcept {
    const std::int64_t left = sequence.mask.keys - from;
    const std::int64_t in_page = problem.paged() ? problem.page - from % problem.page : left;
    return in_page < left ? in_page : left;
  }
  /// Keys [from, from + reach(from)).
  SEQMIX_ALWAYS_INLINE auto keys(std::int64_t from) const noexcept {
    return rows_from(tensors.k, tensors.k_scale, from);
  }
  SEQMIX_ALWAYS_INLINE auto values(std::int64_t from) const noexcept {
    return rows_from(tensors.v, tensors.v_scale, from);
  }

  /// Calls `f` with the rows of keys [from, to), then with those of their values: strided ones
  /// where they reach that far, else rows found one by one through the block table.
  template <class FK, class FV>
  SEQMIX_ALWAYS_INLINE void with_rows(std::int64_t from, std::int64_t to, FK&& of_keys,
                                      FV&& of_values) const noexcept {
    if (reach(from) >= to - from) {
      of_keys(keys(from));
      of_values(values(from));
    } else {
      of_keys(rows_in_pages(tensors.k, tensors.k_scale, from));
      of_values(rows_in_pages(tensors.v, tensors.v_scale, from));
    }
  }

  /// Row r's sums with its sink logit: one more key, without a value, that enters once, here.
  template <class C, class Arch>
  SEQMIX_ALWAYS_INLINE row_total<C> total(std::int64_t r, C maximum, C sum) const noexcept {
    row_total<C> t{maximum, sum};
    if (problem.sink_logits.given()) {
      const C sink =
          real_at<C>(problem.sink_logits, head_of(r)) * static_cast<C>(std::numbers::log2e);
      t.maximum = sink > maximum ? sink : maximum;
      t.shrink = exp2_of<C, Arch>(maximum - softmax_reference(t.maximum));
      t.sum = sum * t.shrink + exp2_of<C, Arch>(sink - softmax_reference(t.maximum));
    }
    return t;
  }

  /// Writes the results of row r from its accumulated values, which are padded to a whole register,
  /// and what they are divided by: zeros when that is zero. No divisor is so small that its
  /// reciprocal overflows: weights below the normal range are zero.
  template <class C, class Arch>
  SEQMIX_ALWAYS_INLINE void finish(std::int64_t r, row_total<C> t, C divisor,
                                   const C* values) const noexcept {
    using V = simd::vec<C, Arch>;
    constexpr std::int64_t w = simd::lanes<C, Arch>;
    TO* out = output(r);
    const std::int64_t step = tensors.o.stride(3);
    const std::int64_t dim = problem.value_dim();
    if (divisor == C(0)) {
      for (std::int64_t c = 0; c < dim; c += w) {
        simd::store_strided<C, Arch>(V(C(0)), out, step, c, dim);
      }
    } else {
      const V factor(t.shrink / divisor);
      const std::int64_t whole = simd::whole_lanes<C, Arch>(step, 0, dim, dim);
      for (std::int64_t c = 0; c < whole; c += w) {
        simd::store<C, Arch>(V::load_unaligned(values + c) * factor, out + c);
      }
      for (std::int64_t c = whole; c < dim; c += w) {
        simd::store_strided<C, Arch>(V::load_unaligned(values + c) * factor, out, step, c, dim);
      }
    }
    if (problem.lse.given() || problem.row_lse.given()) {
      // With no weight at all the logarithm gives minus infinity, as it must.
      const double lse = static_cast<double>(softmax_reference(t.maximum)) * std::numbers::ln2 +
                         std::log(static_cast<double>(t.sum));
      const std::int64_t token = sequence.q_begin + token_of(r);
      write_lse(problem.lse, sequence.batch, head_of(r), token, lse);
      write_lse(problem.row_lse, sequence.batch, head_of(r), token, lse);
    }
  }

 private:
  template <class T>
  SEQMIX_ALWAYS_INLINE auto rows_from(const tensor_view<const T, 4>& x,
                                      const tensor_view<const float, 3>& scale,
                                      std::int64_t from) const noexcept {
    const key_place at = place_of(problem, sequence, from);
    const strided_rows<T> rows{&x(at.outer, at.row, kv_head, 0), x.stride(1), x.stride(3)};
    if constexpr (is_quantised<T>) {
      return scaled_rows<strided_rows<T>, strided_scales>{
          rows, {&scale(at.outer, at.row, kv_head), scale.stride(1)}};
    } else {
      return rows;
    }
  }
  template <class T>
  SEQMIX_ALWAYS_INLINE auto rows_in_pages(const tensor_view<const T, 4>& x,
                                          const tensor_view<const float, 3>& scale,
                                          std::int64_t from) const noexcept {
    const paged_rows<T> rows(problem, sequence, x, kv_head, from);
    if constexpr (is_quantised<T>) {
      return scaled_rows<paged_rows<T>, paged_scales>{rows,
                                                      {problem, sequence, scale, kv_head, from}};
    } else {
      return rows;
    }
  }
};

/// The part of a strip's rows that one block of keys concerns.
struct block_cover {
  std::int64_t begin;  // hull of the keys that any row sees
  std::int64_t end;
  bool full;             // every row sees the whole hull
  bool functor = false;  // a mask functor may hide some of it

  SEQMIX_ALWAYS_INLINE bool empty() const noexcept { return begin >= end; }
};

/// A row's visible keys inside a block: at most two runs, empty ones included.
struct clipped_ranges {
  std::int64_t sink_begin, sink_end, begin, end;

  SEQMIX_ALWAYS_INLINE clipped_ranges(key_ranges r, std::int64_t from, std::int64_t to) noexcept
      : sink_begin(from),
        sink_end(r.sink_end < to ? r.sink_end : to),
        begin(r.begin < from ? from
              : r.begin > to ? to
                             : r.begin),
        end(r.end < to ? r.end : to) {
    sink_end = sink_end < sink_begin ? sink_begin : sink_end;
    end = end < begin ? begin : end;
  }
};

/// What rows [first, first + count) see of the keys [from, to).
SEQMIX_ALWAYS_INLINE block_cover cover(const row_geometry& rows, std::int64_t first,
                                       std::int64_t count, std::int64_t from,
                                       std::int64_t to) noexcept {
  // All ends of a row's runs only move right from row to row.
  const clipped_ranges top(rows.visible(first), from, to);
  const clipped_ranges bottom(rows.visible(first + count - 1), from, to);
  block_cover c{top.begin, bottom.end, bottom.begin <= top.begin && top.end >= bottom.end};
  if (bottom.sink_end > from) {
    // Sinks lie before the window.
    c.full = top.sink_end >= bottom.sink_end && c.empty();
    c.end = c.empty() ? bottom.sink_end : c.end;
    c.begin = from;
  }
  return c;
}

/// Elements [begin, end) of an aligned row, which has whole registers, become `x`.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void fill(C* row, std::int64_t begin, std::int64_t end, C x) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  for (std::int64_t j = begin / w * w; j < end; j += w) {
    if (j >= begin && j + w <= end) {
      V(x).store_aligned(row + j);
    } else {
      const V lane = simd::lane_numbers<C, Arch>();
      const auto inside = lane >= V(static_cast<C>(begin - j)) && lane < V(static_cast<C>(end - j));
      xsimd::select(inside, V(x), V::load_aligned(row + j)).store_aligned(row + j);
    }
  }
}

/// Scores of keys [from, to), whole registers, of which row sees `c` only: the others become
/// `hidden`.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void mask_scores(C* score, clipped_ranges c, std::int64_t from,
                                      std::int64_t to, C hidden) noexcept {
  const bool run = c.end > c.begin;
  fill<C, Arch>(score, (c.sink_end > from ? c.sink_end : from) - from, (run ? c.begin : to) - from,
                hidden);
  fill<C, Arch>(score, (run ? c.end : to) - from, to - from, hidden);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
