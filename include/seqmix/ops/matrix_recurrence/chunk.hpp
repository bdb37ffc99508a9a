// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/tokens.hpp>
#include <seqmix/simd/dot.hpp>
#include <seqmix/simd/tile.hpp>

// The chunked algorithm. With S the state before a chunk and G_ij the product of the decays of
// tokens j + 1 .. i, the writes w of its tokens solve a triangular system, and all else is products
// of matrices:
//
//     w_i = v_i - (read_i G_i0)^T S - sum over j < i of (read_i^T G_ij k_j) w_j      delta
//     o_i = (q_i G_i0)^T S + sum over j <= i of (q_i^T G_ij k_j) w_j
//     S'  = G_n0 S + sum over j of (G_nj k_j) w_j^T
//
// G_ij is no product of one factor for i and one for j that both stay finite, unless a reference
// between them is chosen: the pairs of two neighbouring blocks of 2^l tokens take the border
// between the blocks. So the rows walk up a binary tree: at each level rows of a right block meet
// those of its left neighbour, and then queries take the decays of the whole left block, and keys
// those of the whole right one. Decays are only ever multiplied, never divided: no gate is too
// strong, and factors may have either sign.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What a chunk needs beside the rows of its tokens. Scores are [block][block] below the diagonal,
/// or up to it for queries.
template <class C, class Arch>
struct chunk_rows {
  std::int64_t block = 0;
  C* query_key = nullptr;
  C* read_key = nullptr;
  C* query_b = nullptr;
  C* read_b = nullptr;
  C* u = nullptr;  // [block][values]: what the update reads from the state, of general

  chunk_rows() = default;
  chunk_rows(scratch_layout& layout, const matrix_recurrence_problem& p, std::int64_t values,
             std::int64_t n) noexcept
      : block(n) {
    const bool general = p.update == state_update::general;
    query_key = layout.take<C>(n * n);
    read_key = layout.take<C>(p.update == state_update::none ? 0 : n * n);
    query_b = layout.take<C>(general ? n * n : 0);
    read_b = layout.take<C>(general ? n * n : 0);
    u = layout.take<C>(general ? n * values : 0);
  }
};

/// Tokens [first, last) of a block as one chunk. None of them ends what was before.
template <class C, class Arch, state_decay Decay, state_update Update>
struct chunk_run {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr bool reads = Update != state_update::none;
  static constexpr bool general = Update == state_update::general;

  const token_rows<C, Arch>& rows;
  const chunk_rows<C, Arch>& chunk;
  std::int64_t first;
  std::int64_t last;

  /// The scores of all pairs; afterwards queries, reads, keys and b carry the decays to the chunk's
  /// borders, and the first token's decay is that of the whole chunk.
  void prepare() const noexcept {
    for (std::int64_t t = first; t < last; ++t) {
      score(rows.q, rows.k, chunk.query_key, t, t + 1, t, t + 1);
      if constexpr (general) {
        score(rows.q, rows.b, chunk.query_b, t, t + 1, t, t + 1);
      }
      decay(rows.q, t, t);
    }
    for (std::int64_t size = 1; size < last - first; size *= 2) {
      for (std::int64_t left = first; left + size < last; left += 2 * size) {
        const std::int64_t right = left + size;
        const std::int64_t end = right + size < last ? right + size : last;
        meet(left, right, end);
        if constexpr (Decay != state_decay::none) {
          for (std::int64_t t = right; t < end; ++t) {
            decay(rows.q, t, left);
            if constexpr (reads) {
              decay(rows.read, t, left);
            }
          }
          for (std::int64_t t = left; t < right; ++t) {
            decay(rows.k, t, right);
            if constexpr (general) {
              decay(rows.b, t, right);
            }
          }
          if constexpr (Decay == state_decay::per_key) {
            decay(rows.decay, left, right);
          } else {
            rows.decay[left] *= rows.decay[right];
          }
        }
      }
    }
  }

  /// The chunk on one tile of the state, `Width` registers of the values from `column` on.
  template <int Width>
  void run(C* state, std::int64_t keys, std::int64_t column) const noexcept {
    // As many accumulators as a register tile has, but not so many rows that what they do among
    // themselves, half of rows times rows, is long to compile.
    constexpr int room = simd::tile_shape<Arch>::rows * simd::tile_shape<Arch>::width / Width;
    constexpr int group = room < 4 ? room : 4;
    const auto in_groups = [](std::int64_t begin, std::int64_t end, auto&& f)
                               __attribute__((always_inline)) {
                                 std::int64_t i = begin;
                                 for (; i + group <= end; i += group) {
                                   f(std::integral_constant<int, group>{}, i);
                                 }
                                 for (; i < end; ++i) {
                                   f(std::integral_constant<int, 1>{}, i);
                                 }
                               };
    if constexpr (reads) {
      in_groups(first, last, [&](auto n, std::int64_t i) __attribute__((always_inline)) {
        solve<decltype(n)::value, Width>(state, keys, column, i);
      });
    }
    in_groups(first, last, [&](auto n, std::int64_t i) __attribute__((always_inline)) {
      output<decltype(n)::value, Width>(state, keys, column, i);
    });
    in_groups(0, keys, [&](auto n, std::int64_t d) __attribute__((always_inline)) {
      advance<decltype(n)::value, Width>(state, column, d);
    });
  }

 private:
  /// x_t = x_t times the decay of `by`.
  void decay(C* x, std::int64_t t, std::int64_t by) const noexcept {
    C* row = x + t * rows.keys;
    if constexpr (Decay == state_decay::scalar) {
      scale_row<C, Arch>(row, rows.keys, rows.decay[by]);
    } else if constexpr (Decay == state_decay::per_key) {
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        (V::load_aligned(row + i) * V::load_aligned(rows.decay + by * rows.keys + i))
            .store_aligned(row + i);
      }
    }
  }

  /// scores[i][j] = left_i . right_j for tokens i in [begin, end) and j in [from, to).
  void score(const C* left, const C* right, C* scores, std::int64_t begin, std::int64_t end,
             std::int64_t from, std::int64_t to) const noexcept {
    simd::dot_rows<C, Arch>(left + begin * rows.keys, rows.keys, end - begin,
                            right + from * rows.keys, rows.keys, to - from, rows.keys,
                            scores + begin * chunk.block + from, chunk.block, [](std::int64_t) {});
  }

  /// The pairs of tokens [right, end) with tokens [left, right).
  void meet(std::int64_t left, std::int64_t right, std::int64_t end) const noexcept {
    score(rows.q, rows.k, chunk.query_key, right, end, left, right);
    if constexpr (reads) {
      score(rows.read, rows.k, chunk.read_key, right, end, left, right);
    }
    if constexpr (general) {
      score(rows.q, rows.b, chunk.query_b, right, end, left, right);
      score(rows.read, rows.b, chunk.read_b, right, end, left, right);
    }
  }

  template <int Rows, int Width>
  static SEQMIX_ALWAYS_INLINE void store(const V (&acc)[Rows][Width], C* at,
                                         std::int64_t step) noexcept {
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      simd::unroll<Width>([&](auto c) __attribute__((always_inline)) {
        acc[r][c].store_aligned(at + r * step + c * w);
      });
    });
  }

  /// acc[r] += scores[i + r][j] x_j over the tokens j before token i, with x from `column` on.
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void earlier(V (&acc)[Rows][Width], const C* scores, std::int64_t i,
                                    const C* x, std::int64_t column) const noexcept {
    simd::multiply_add<Rows, Width, C, Arch>(acc, scores + i * chunk.block + first, chunk.block, 1,
                                             x + first * rows.values + column, rows.values,
                                             i - first);
  }

  /// acc[r] = what row i + r of `left` reads of all that is before token i: the state and, by its
  /// scores, the tokens.
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void from_before(V (&acc)[Rows][Width], const C* left, const C* of_keys,
                                        const C* of_b, const C* state, std::int64_t keys,
                                        std::int64_t column, std::int64_t i) const noexcept {
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      simd::unroll<Width>([&](auto c) __attribute__((always_inline)) { acc[r][c] = V(C(0)); });
    });
    simd::multiply_add<Rows, Width, C, Arch>(acc, left + i * rows.keys, rows.keys, 1, state,
                                             Width * w, keys);
    earlier(acc, of_keys, i, rows.v, column);
    if constexpr (general) {
      earlier(acc, of_b, i, chunk.u, column);
    }
  }

  /// acc[r] += scores[i + r][i + from] x_(i + from) for the rows r from `begin` on.
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void within(V (&acc)[Rows][Width], const C* scores, std::int64_t i, int from,
                                   int begin, const C* x, std::int64_t column) const noexcept {
    const C* row = x + (i + from) * rows.values + column;
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      if (r >= begin) {
        const V s(scores[(i + r) * chunk.block + i + from]);
        simd::unroll<Width>([&](auto c) __attribute__((always_inline)) {
          acc[r][c] = simd::fma(s, V::load_aligned(row + c * w), acc[r][c]);
        });
      }
    });
  }

  /// What the updates of tokens [i, i + Rows) read. Delta's writes take the place of v.
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void solve(const C* state, std::int64_t keys, std::int64_t column,
                                  std::int64_t i) const noexcept {
    V acc[Rows][Width];
    from_before(acc, rows.read, chunk.read_key, chunk.read_b, state, keys, column, i);
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      const std::int64_t at = (i + r) * rows.values + column;
      simd::unroll<Width>([&](auto c) __attribute__((always_inline)) {
        if constexpr (general) {
          acc[r][c].store_aligned(chunk.u + at + c * w);
        } else {
          V write = V::load_aligned(rows.v + at + c * w) - acc[r][c];
          if (rows.beta != nullptr) {
            write = write * V::load_aligned(rows.beta + at + c * w);
          }
          write.store_aligned(rows.v + at + c * w);
        }
      });
      within(acc, chunk.read_key, i, r, r + 1, rows.v, column);
      if constexpr (general) {
        within(acc, chunk.read_b, i, r, r + 1, chunk.u, column);
      }
    });
  }

  /// The outputs of tokens [i, i + Rows).
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void output(const C* state, std::int64_t keys, std::int64_t column,
                                   std::int64_t i) const noexcept {
    V acc[Rows][Width];
    from_before(acc, rows.q, chunk.query_key, chunk.query_b, state, keys, column, i);
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      within(acc, chunk.query_key, i, r, r, rows.v, column);
      if constexpr (general) {
        within(acc, chunk.query_b, i, r, r, chunk.u, column);
      }
    });
    store(acc, rows.o + i * rows.values + column, rows.values);
  }

  /// Rows [d, d + Rows) of the state after the chunk.
  template <int Rows, int Width>
  SEQMIX_ALWAYS_INLINE void advance(C* state, std::int64_t column, std::int64_t d) const noexcept {
    V acc[Rows][Width];
    C* at = state + d * Width * w;
    const C* decay = rows.decay + first * (Decay == state_decay::per_key ? rows.keys : 1);
    simd::unroll<Rows>([&](auto r) __attribute__((always_inline)) {
      simd::unroll<Width>([&](auto c) __attribute__((always_inline)) {
        acc[r][c] = V::load_aligned(at + (r * Width + c) * w);
        if constexpr (Decay != state_decay::none) {
          acc[r][c] = acc[r][c] * V(decay[Decay == state_decay::per_key ? d + r : 0]);
        }
      });
    });
    const auto write = [&](const C* key, const C* value) __attribute__((always_inline)) {
      simd::multiply_add<Rows, Width, C, Arch>(acc, key + first * rows.keys + d, 1, rows.keys,
                                               value + first * rows.values + column, rows.values,
                                               last - first);
    };
    write(rows.k, rows.v);
    if constexpr (general) {
      write(rows.b, chunk.u);
    }
    store(acc, at, Width * w);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
