// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <numbers>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/softmax_attention/query_rows.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/tanh.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Where the bias of query row i of a sequence and head begins, and its stride along the last axis.
/// Axes of extent 1 serve every index.
struct bias_row {
  std::int64_t offset;
  std::int64_t step;

  SEQMIX_ALWAYS_INLINE bias_row(const any_view<4>& bias, std::int64_t sequence, std::int64_t head,
                                std::int64_t i) noexcept
      : offset((bias.extents[0] == 1 ? 0 : sequence) * bias.strides[0] +
               (bias.extents[1] == 1 ? 0 : head) * bias.strides[1] +
               (bias.extents[2] == 1 ? 0 : i) * bias.strides[2]),
        step(bias.extents[3] == 1 ? 0 : bias.strides[3]) {}
};

/// An index that ALiBi measures from: integers keep all their bits.
struct alibi_origin {
  bool whole = false;
  std::int64_t integer = 0;
  double real = 0;

  SEQMIX_ALWAYS_INLINE alibi_origin(const any_view<2>& v, std::int64_t i, std::int64_t j) noexcept {
    with_number_elements(v.data, v.type, [&](const auto* data) __attribute__((always_inline)) {
      const auto x = data[(v.extents[0] == 1 ? 0 : i) * v.strides[0] + j * v.strides[1]];
      if constexpr (std::is_integral_v<decltype(x)>) {
        whole = true;
        integer = x;
      }
      real = widen<double>(x);
    });
  }

  /// The distance to the index g, rounded once. Integers of 64 bits differ by 64 bits without sign.
  template <class C, class T>
  SEQMIX_ALWAYS_INLINE C distance(T g) const noexcept {
    if constexpr (std::is_integral_v<T>) {
      if (whole) {
        const auto difference =
            static_cast<std::uint64_t>(integer) - static_cast<std::uint64_t>(std::int64_t{g});
        return static_cast<C>(integer < g ? 0 - difference : difference);
      }
    }
    return static_cast<C>(std::fabs(real - widen<double>(g)));
  }
};

/// Entries clamp(first - lane, 0, last) of a row: a table by distance, read along the keys.
template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> load_clamped(const T* row, std::int64_t step,
                                                     std::int64_t first,
                                                     std::int64_t last) noexcept {
  constexpr int w = simd::lanes<C, Arch>;
  if (first <= 0 || first - (w - 1) >= last) {
    return simd::vec<C, Arch>(widen<C>(row[(first <= 0 ? 0 : last) * step]));
  }
  if (first <= last && first - (w - 1) >= 0) {
    return simd::load_strided<C, Arch>(row + first * step, -step, 0, w);
  }
  alignas(64) C lane[w];
  for (std::int64_t i = 0; i < w; ++i) {
    const std::int64_t at = first - i < 0 ? 0 : first - i < last ? first - i : last;
    lane[i] = widen<C>(row[at * step]);
  }
  return simd::vec<C, Arch>::load_aligned(lane);
}

/// What happens to scores between the product and the mask: softcap, ALiBi, bias, and the bias by
/// distance, in this order. Scores are exponents of two.
template <class C, class Arch>
struct score_terms {
  using V = simd::vec<C, Arch>;
  static constexpr int w = simd::lanes<C, Arch>;

  static constexpr bool masks = false;

  const softmax_attention_problem& problem;
  bool any;  ///< there is something to apply

  SEQMIX_ALWAYS_INLINE explicit score_terms(const softmax_attention_problem& p) noexcept
      : problem(p),
        any(p.softcap > 0 || p.alibi_slopes.given() || p.bias.given() || p.relative_bias.given()) {}

  /// Row r's scores of keys [from, to), a multiple of the lanes. The sequence's keys may end
  /// sooner: what is there then does not matter.
  void apply(const row_geometry& rows, std::int64_t r, C* score, std::int64_t from,
             std::int64_t to) const noexcept {
    const std::int64_t token = rows.token_of(r);
    const std::int64_t head = rows.head_of(r);
    const std::int64_t diagonal = rows.place_of_row(r);
    if (problem.softcap > 0) {
      const V cap(static_cast<C>(problem.softcap * std::numbers::log2e));
      const V inverse(static_cast<C>(1 / (problem.softcap * std::numbers::log2e)));
      for (std::int64_t j = 0; j < to - from; j += w) {
        simd::soft_cap<C, Arch>(V::load_aligned(score + j), cap, inverse).store_aligned(score + j);
      }
    }
    if (problem.alibi.given()) {
      subtract_distances(rows, token, head, score, from, to);
    } else if (problem.alibi_slopes.given()) {
      subtract_distances_to(diagonal, V(slope_of(head)), score, from, to);
    }
    if (problem.bias.given()) {
      const bias_row at(problem.bias, rows.index, head, token);
      const std::int64_t keys = rows.sequence.mask.keys - from;
      const V unit(static_cast<C>(std::numbers::log2e));
      with_real_elements(
          problem.bias.data, problem.bias.type,
          [&](const auto* data) __attribute__((always_inline)) {
            const auto* row = data + at.offset + from * at.step;
            for (std::int64_t j = 0; j < to - from && j < keys; j += w) {
              const V bias = simd::load_strided<C, Arch>(row, at.step, j, keys);
              simd::fma(bias, unit, V::load_aligned(score + j)).store_aligned(score + j);
            }
          });
    }
    if (problem.relative_bias.given()) {
      const any_view<4>& values = problem.relative_bias.values;
      const bias_row at(values, rows.index, head, token);
      const std::int64_t first = diagonal + problem.relative_bias.origin - from;
      const V unit(static_cast<C>(std::numbers::log2e));
      with_real_elements(
          values.data, values.type, [&](const auto* data) __attribute__((always_inline)) {
            for (std::int64_t j = 0; j < to - from; j += w) {
              const V bias = load_clamped<C, Arch>(data + at.offset, at.step, first - j,
                                                   values.extents[3] - 1);
              simd::fma(bias, unit, V::load_aligned(score + j)).store_aligned(score + j);
            }
          });
    }
  }

 private:
  SEQMIX_ALWAYS_INLINE C slope_of(std::int64_t head) const noexcept {
    return real_at<C>(problem.alibi_slopes, head) * static_cast<C>(std::numbers::log2e);
  }

  /// ALiBi of a row whose query stands at key `diagonal`.
  SEQMIX_ALWAYS_INLINE void subtract_distances_to(std::int64_t diagonal, V slope, C* score,
                                                  std::int64_t from,
                                                  std::int64_t to) const noexcept {
    const auto distances_at = [&](std::int64_t j) __attribute__((always_inline)) {
      return V(static_cast<C>(diagonal - from - j)) - simd::lane_numbers<C, Arch>();
    };
    const auto subtract = [&](std::int64_t j, V distance) __attribute__((always_inline)) {
      simd::fnma(slope, distance, V::load_aligned(score + j)).store_aligned(score + j);
    };
    constexpr std::int64_t exact = std::int64_t{1} << 24;
    const std::int64_t keys = to - from;
    if (diagonal - from >= exact || to - diagonal >= exact) {
      for (std::int64_t j = 0; j < keys; j += w) {
        subtract(j, xsimd::abs(distances_at(j)));
      }
      return;
    }
    // Distances are whole numbers: one less is as good as a new one, and none before the diagonal
    // has a sign. What lies behind it in a causal row is hidden later.
    const std::int64_t before = problem.causal || to <= diagonal ? keys
                                : diagonal > from                ? (diagonal - from) / w * w
                                                                 : 0;
    V distance = distances_at(0);
    const V step(static_cast<C>(w));
    std::int64_t j = 0;
    for (; j < before; j += w, distance -= step) {
      subtract(j, distance);
    }
    for (; j < keys; j += w, distance -= step) {
      subtract(j, xsimd::abs(distance));
    }
  }

  /// ALiBi between indexes. There are none for keys past the sequence's last.
  void subtract_distances(const row_geometry& rows, std::int64_t token, std::int64_t head, C* score,
                          std::int64_t from, std::int64_t to) const noexcept {
    const attention_sequence& s = rows.sequence;
    const any_view<2>& key = problem.alibi.key;
    const alibi_origin origin(problem.alibi.query, s.batch, s.q_begin + token);
    const V slope(slope_of(head));
    const std::int64_t keys = (s.mask.keys < to ? s.mask.keys : to) - from;
    with_number_elements(key.data, key.type, [&](const auto* data) __attribute__((always_inline)) {
      const auto* index = data + (key.extents[0] == 1 ? 0 : s.batch) * key.strides[0] +
                          (s.k_begin + from) * key.strides[1];
      for (std::int64_t j = 0; j < keys; j += w) {
        alignas(64) C distance[w] = {};
        for (std::int64_t i = 0; i < w && j + i < keys; ++i) {
          distance[i] = origin.distance<C>(index[(j + i) * key.strides[1]]);
        }
        simd::fnma(slope, V::load_aligned(distance), V::load_aligned(score + j))
            .store_aligned(score + j);
      }
    });
  }
};

/// Key `from` for row r, as functors see it.
SEQMIX_ALWAYS_INLINE score_context context_of(const row_geometry& rows, std::int64_t r,
                                              std::int64_t from) noexcept {
  return {rows.index,
          rows.kv_head * rows.group + r % rows.group,
          r / rows.group,
          from,
          rows.sequence.mask.queries,
          rows.sequence.mask.keys};
}

/// The same, and then the caller's functors; `void` where there is none of a kind.
template <class C, class Arch, class Score, class Mask>
struct functor_terms : score_terms<C, Arch> {
  static constexpr bool masks = !std::is_void_v<Mask>;

  SEQMIX_ALWAYS_INLINE explicit functor_terms(const softmax_attention_problem& p) noexcept
      : score_terms<C, Arch>(p) {
    this->any |= !std::is_void_v<Score>;
  }

  void apply(const row_geometry& rows, std::int64_t r, C* score, std::int64_t from,
             std::int64_t to) const noexcept {
    score_terms<C, Arch>::apply(rows, r, score, from, to);
    if constexpr (!std::is_void_v<Score>) {
      const std::int64_t keys = rows.sequence.mask.keys;
      const std::int64_t count = (to < keys ? to : keys) - from;
      const score_context first = context_of(rows, r, from);
      std::int64_t j = 0;
      for (; j + some <= count; j += some) {
        change<some>(score, j, first);
      }
      for (; j < count; ++j) {
        change<1>(score, j, first);
      }
    }
  }

  /// Whether row r sees key j as far as the mask functor goes.
  SEQMIX_ALWAYS_INLINE bool sees(const row_geometry& rows, std::int64_t r,
                                 std::int64_t j) const noexcept {
    return (*static_cast<const Mask*>(this->problem.mask))(context_of(rows, r, j));
  }

  /// What the mask functor says of rows [first, first + count) and keys [from, to).
  block_visibility classify(const row_geometry& rows, std::int64_t first, std::int64_t count,
                            std::int64_t from, std::int64_t to) const noexcept {
    if constexpr (block_attention_mask<Mask>) {
      return static_cast<const Mask*>(this->problem.mask)
          ->classify({rows.index, rows.kv_head * rows.group, (rows.kv_head + 1) * rows.group,
                      first / rows.group, (first + count - 1) / rows.group + 1, from, to,
                      rows.sequence.mask.queries, rows.sequence.mask.keys});
    }
    return block_visibility::partial;
  }

 private:
  /// Scores that the functor is called for in loops of constant length, which compilers turn into
  /// vector code where the functor allows it.
  static constexpr int some = 16;

  /// The scores [j, j + Count), of which `first` is the context of number 0.
  template <int Count>
  SEQMIX_ALWAYS_INLINE void change(C* score, std::int64_t j,
                                   const score_context& first) const noexcept {
    const Score functor = *static_cast<const Score*>(this->problem.score);
    float natural[Count];
    for (int i = 0; i < Count; ++i) {
      natural[i] = static_cast<float>(score[j + i] * static_cast<C>(std::numbers::ln2));
    }
    for (int i = 0; i < Count; ++i) {
      score_context at = first;
      at.key += j + i;
      natural[i] = static_cast<float>(functor(natural[i], at));
    }
    for (int i = 0; i < Count; ++i) {
      score[j + i] = static_cast<C>(natural[i]) * static_cast<C>(std::numbers::log2e);
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
