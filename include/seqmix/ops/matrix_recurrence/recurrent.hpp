// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/deferred_decay.hpp>
#include <seqmix/ops/matrix_recurrence/head_state.hpp>
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

/// Where a tile comes from before the first token and goes to after the last, when that is memory
/// of the caller that can be read and written a register at a time; else it stays where it is.
template <class C>
struct tile_path {
  const C* from = nullptr;
  std::int64_t from_step = 0;  // between rows
  C* to = nullptr;
  std::int64_t to_step = 0;
  pending_decay<C> decay{};  // of the tile that leaves
  const C* ahead = nullptr;  // what is read next, with the rows of `from`
};

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
  SEQMIX_ALWAYS_INLINE void multiply(const C* read, const C* from, std::int64_t step,
                                     V (&out)[Width]) const noexcept {
    simd::unroll<Width>([&](auto j) __attribute__((always_inline)) { out[j] = V(C(0)); });
    for (std::int64_t d = 0; d < keys; ++d) {
      const V x(read[d]);
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
        out[j] = simd::fma(x, V::load_unaligned(from + d * step + j * w), out[j]);
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
           std::int64_t column, const tile_path<C>& path = {}) const noexcept {
    constexpr bool reads = Update != state_update::none;
    const std::int64_t decay_step = Decay == state_decay::per_key ? rows.keys : 1;
    V u[Width];
    if constexpr (reads) {
      multiply(rows.read + first * rows.keys, path.from != nullptr ? path.from : state,
               path.from != nullptr ? path.from_step : columns, u);
    }
    for (std::int64_t t = first; t < last; ++t) {
      const C* decay = rows.decay + t * decay_step;
      if (Decay != state_decay::none && rows.cut[t]) {
        cut<Decay>(decay);
        if constexpr (Update == state_update::delta) {
          // Delta reads the decayed state.
          multiply(rows.read + t * rows.keys, state, columns, u);
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
      const token_keys keys_of{rows.q + t * rows.keys, rows.k + t * rows.keys, decay,
                               rows.b + t * rows.keys, rows.read + (t + 1) * rows.keys};
      const bool enters = t == first && path.from != nullptr;
      const bool leaves = t + 1 == last && path.to != nullptr;
      const auto step = [&](auto multiplied) __attribute__((always_inline)) {
        constexpr state_decay now = decltype(multiplied)::value;
        if (enters || leaves) {
          travel<now, Update>(keys_of, enters, leaves, path, write, u, out);
        } else {
          token<now, Update, false>(keys_of, {state, columns, state, columns}, write, u, out);
        }
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
  /// A token's rows of keys.
  struct token_keys {
    const C* q;
    const C* k;
    const C* decay;
    const C* b;
    const C* next_read;
  };
  /// Where a pass reads the tile and where it writes it.
  struct pass {
    const C* from;
    std::int64_t from_step;
    C* to;
    std::int64_t to_step;
    const C* factor = nullptr;  // of what is written
    std::int64_t factor_step = 0;
    const C* ahead = nullptr;
  };

  /// A token at which the tile comes from the caller's memory, or goes there.
  template <state_decay Decay, state_update Update>
  void travel(const token_keys& t, bool enters, bool leaves, const tile_path<C>& path,
              const V (&write)[Width], V (&u)[Width], V (&out)[Width]) const noexcept {
    const C one(1);
    pass where{state, columns, state, columns, &one, 0, nullptr};
    if (enters) {
      where.from = path.from;
      where.from_step = path.from_step;
      where.ahead = path.ahead;
    }
    if (leaves) {
      where.to = path.to;
      where.to_step = path.to_step;
      if (path.decay.factors != nullptr) {
        where.factor = path.decay.factors;
        where.factor_step = path.decay.per_key ? 1 : 0;
      }
    }
    token<Decay, Update, true>(t, where, write, u, out);
  }

  template <state_decay Decay, state_update Update, bool Travels>
  SEQMIX_ALWAYS_INLINE void token(const token_keys& t, const pass& where, const V (&write)[Width],
                                  V (&u)[Width], V (&out)[Width]) const noexcept {
    constexpr bool reads = Update != state_update::none;
    const V scalar(Decay == state_decay::scalar ? t.decay[0] : C(1));
    V next[Width];
    simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
      out[j] = V(C(0));
      next[j] = V(C(0));
    });
    // Copies: a store of a register might change the members, for all that a compiler knows.
    const pass at = where;
    const token_keys row = t;
    const C* from = at.from;
    C* to = at.to;
    const std::int64_t count = keys;
    for (std::int64_t d = 0; d < count; ++d) {
      const V kd(row.k[d]);
      const V qd(row.q[d]);
      const V factor = Decay == state_decay::per_key ? V(row.decay[d]) : scalar;
      const V bd(Update == state_update::general ? row.b[d] : C(0));
      const V rd(reads ? row.next_read[d] : C(0));
      const V leaving(Travels ? at.factor[d * at.factor_step] : C(1));
      if constexpr (Travels) {
        if (at.ahead != nullptr) {
          for (std::int64_t i = 0; i < columns; i += 64 / static_cast<std::int64_t>(sizeof(C))) {
            __builtin_prefetch(at.ahead + d * at.from_step + i);
          }
        }
      }
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) {
        V s = Travels ? V::load_unaligned(from + j * w) : V::load_aligned(from + j * w);
        if constexpr (Decay != state_decay::none) {
          s = s * factor;
        }
        if constexpr (Update == state_update::general) {
          s = simd::fma(bd, u[j], s);
        }
        s = simd::fma(kd, write[j], s);
        if constexpr (Travels) {
          (s * leaving).store_unaligned(to + j * w);
        } else {
          s.store_aligned(to + j * w);
        }
        out[j] = simd::fma(qd, s, out[j]);
        if constexpr (reads) {
          next[j] = simd::fma(rd, s, next[j]);
        }
      });
      from += Travels ? at.from_step : columns;
      to += Travels ? at.to_step : columns;
    }
    if constexpr (reads) {
      simd::unroll<Width>([&](auto j) __attribute__((always_inline)) { u[j] = next[j]; });
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
