// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/deferred_decay.hpp>
#include <seqmix/simd/tile.hpp>

// The recurrent algorithm: a tile of the state, all keys and a few registers of values, stays in
// the first-level cache while the tokens of a block stream over it. One pass over the tile for each
// token: it writes the state, reads the output from the new state, and reads what the next token's
// update needs. The tokens' decays are deferred, so that few of them multiply the state.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Registers of values in a tile: less for keys so many that the tile would not fit, and for few
/// values.
template <class C, class Arch>
constexpr int state_tile_width(std::int64_t keys, std::int64_t values) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t row = keys * w * static_cast<std::int64_t>(sizeof(C));
  return values > 2 * w && row * 4 <= 32768 ? 4 : values > w && row * 2 <= 32768 ? 2 : 1;
}

/// A tile of one head's state, [keys][Width registers].
template <int Width, class C, class Arch>
struct state_tile {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::int64_t columns = Width * w;

  C* state;
  std::int64_t keys;

  SEQMIX_ALWAYS_INLINE C* row(std::int64_t d) const noexcept { return state + d * columns; }

  /// read^T S.
  SEQMIX_ALWAYS_INLINE void multiply(const C* read, V (&out)[Width]) const noexcept {
    simd::unroll<Width>([&](auto j) __attribute__((always_inline)) { out[j] = V(C(0)); });
    for (std::int64_t d = 0; d < keys; ++d) {
      const V x(read[d]);
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
        out[j] = simd::fma(x, V::load_aligned(row(d) + j * w), out[j]);
      });
    }
  }

  /// Rows whose factor is zero: what they hold is over, whatever it is.
  template <state_decay Decay>
  void cut(const C* decay) const noexcept {
    for (std::int64_t d = 0; d < keys; ++d) {
      if (decay[Decay == state_decay::per_key ? d : 0] == C(0)) {
        for (std::int64_t i = 0; i < columns; ++i) {
          row(d)[i] = C(0);
        }
      }
    }
  }

  /// Tokens [first, last) of a block, values from `column` on.
  template <state_decay Decay, state_update Update>
  void run(const token_rows<C, Arch>& rows, std::int64_t first, std::int64_t last,
           std::int64_t column) const noexcept {
    constexpr bool reads = Update != state_update::none;
    const std::int64_t decay_step = Decay == state_decay::per_key ? rows.keys : 1;
    V u[Width];
    if constexpr (reads) {
      multiply(rows.read + first * rows.keys, u);
    }
    for (std::int64_t t = first; t < last; ++t) {
      const C* decay = rows.decay + t * decay_step;
      if (Decay != state_decay::none && rows.cut[t]) {
        cut<Decay>(decay);
        if constexpr (Update == state_update::delta) {
          multiply(rows.read + t * rows.keys, u);  // delta reads the decayed state
        }
      }
      const C* v = rows.v + t * rows.values + column;
      V write[Width];
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
        write[j] = V::load_aligned(v + j * w);
        if constexpr (Update == state_update::delta) {
          write[j] = write[j] - u[j];
        }
      });
      if constexpr (Update == state_update::delta) {
        if (rows.beta != nullptr) {
          const C* beta = rows.beta + t * rows.values + column;
          simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
            write[j] = write[j] * V::load_aligned(beta + j * w);
          });
        }
      }
      V out[Width];
      const auto step = [&](auto multiplied) __attribute__((always_inline)) {
        token<decltype(multiplied)::value, Update>(rows.q + t * rows.keys, rows.k + t * rows.keys,
                                                   decay, rows.b + t * rows.keys,
                                                   rows.read + (t + 1) * rows.keys, write, u, out);
      };
      if (Decay != state_decay::none && rows.multiplies[t]) {
        step(std::integral_constant<state_decay, Decay>{});
      } else {
        step(std::integral_constant<state_decay, state_decay::none>{});
      }
      C* o = rows.o + t * rows.values + column;
      simd::unroll<Width>([&](auto j)
                              __attribute__((always_inline)) { out[j].store_aligned(o + j * w); });
    }
  }

 private:
  template <state_decay Decay, state_update Update>
  SEQMIX_ALWAYS_INLINE void token(const C* q, const C* k, const C* decay, const C* b,
                                  const C* next_read, const V (&write)[Width], V (&u)[Width],
                                  V (&out)[Width]) const noexcept {
    constexpr bool reads = Update != state_update::none;
    const V scalar(Decay == state_decay::scalar ? decay[0] : C(1));
    V next[Width];
    simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
      out[j] = V(C(0));
      next[j] = V(C(0));
    });
    // Copies: a store of a register might change the members, for all that a compiler knows.
    C* at = state;
    const std::int64_t count = keys;
    for (std::int64_t d = 0; d < count; ++d, at += columns) {
      const V kd(k[d]);
      const V qd(q[d]);
      const V factor = Decay == state_decay::per_key ? V(decay[d]) : scalar;
      const V bd(Update == state_update::general ? b[d] : C(0));
      const V rd(reads ? next_read[d] : C(0));
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
        V s = V::load_aligned(at + j * w);
        if constexpr (Decay != state_decay::none) {
          s = s * factor;
        }
        if constexpr (Update == state_update::general) {
          s = simd::fma(bd, u[j], s);
        }
        s = simd::fma(kd, write[j], s);
        s.store_aligned(at + j * w);
        out[j] = simd::fma(qd, s, out[j]);
        if constexpr (reads) {
          next[j] = simd::fma(rd, s, next[j]);
        }
      });
    }
    if constexpr (reads) {
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) { u[j] = next[j]; });
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
