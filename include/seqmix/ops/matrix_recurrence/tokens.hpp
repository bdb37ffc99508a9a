// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <seqmix/common/feature_rows.hpp>
#include <seqmix/core/round_up.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/matrix_recurrence/gates.hpp>
#include <seqmix/simd/load.hpp>

// Tokens on their way into the recurrence: rows in the compute type, with all that depends on the
// token alone worked in. From here on nothing knows strides or element types.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Rows of one block of tokens for one value head; a row of keys has `keys` elements and one of
/// values `values`, both whole registers, zeros behind the last.
template <class C, class Arch>
struct token_rows {
  std::int64_t keys;
  std::int64_t values;
  bool deferring;  // `defer_decay` comes next: what it passes over anyway is left to it
  C* q;            // [block][keys], scaled
  C* k;            // [block][keys]
  C* decay;        // [block][keys] or [block]: factors, not logarithms
  double* number;  // [block], of a decay of one factor: exact factors
  C* dt;           // [block], of time steps
  C* rate;         // [keys]: e^a_log of the gates, where their encoding has it
  C* bias;         // [keys]: likewise
  C* read;         // [block + 1][keys]: what the state is read with before it is written
  C* strength;     // [block], of delta with a decay for each key, from which deferring makes `read`
  C* b;            // [block][keys]
  C* beta;         // [block][values], when there is one for each value
  C* v;            // [block][values], of delta times beta
  C* o;            // [block][values]
  C* z;            // [keys]: the sum of all keys so far, of the denominator
  C* factor;       // [block]: what outputs are multiplied by, of the denominator
  C* pending;      // [keys] or [1]: decays that the state has not seen yet
  C* owed;         // [keys] or [1]: what rounding the decays so far has left, as a share
  C* raw;          // a row before its feature map, and the map's scratch
  C* last;         // [2][values]: an output and what it meets on its way out
  bool* cut;       // [block]: some factor is zero, which ends what was before
  bool* multiplies;  // [block]: the state is multiplied by `decay`

  /// Room for `n` tokens.
  token_rows(scratch_layout& layout, const matrix_recurrence_problem& p, std::int64_t n,
             bool defers) noexcept
      : deferring(defers) {
    constexpr std::int64_t w = simd::lanes<C, Arch>;
    keys = round_up(p.key_dim(), w);
    values = round_up(p.value_dim(), 4 * w);
    const bool reads = p.update != state_update::none;
    q = layout.take<C>(n * keys);
    k = layout.take<C>(n * keys);
    decay = layout.take<C>(p.decay == state_decay::per_key ? n * keys : n);
    // Whole registers of numbers, of whatever type.
    const std::int64_t numbers = round_up(n, 16);
    number = layout.take<double>(p.decay == state_decay::scalar ? numbers : 0);
    dt = layout.take<C>(p.steps.given ? numbers : 0);
    const bool rates = p.decay == state_decay::per_key && has_head_parameters(p.gates.encoding);
    rate = layout.take<C>(rates ? keys : 0);
    bias = layout.take<C>(rates ? keys : 0);
    read = layout.take<C>(reads ? (n + 1) * keys : 0);
    const bool late = p.update == state_update::delta && p.decay == state_decay::per_key && defers;
    strength = late ? layout.take<C>(n) : nullptr;
    b = layout.take<C>(p.update == state_update::general ? n * keys : 0);
    const bool many_betas = p.update == state_update::delta && p.beta.extents[3] > 1;
    beta = many_betas ? layout.take<C>(n * values) : nullptr;
    v = layout.take<C>(n * values);
    o = layout.take<C>(n * values);
    z = layout.take<C>(p.normalise ? keys : 0);
    factor = layout.take<C>(p.normalise ? n : 0);
    const std::int64_t row = p.q.extents[3];
    raw = layout.take<C>(!p.has_features()
                             ? 0
                             : padded<C, Arch>(row) +
                                   std::max(feature_scratch<C, Arch>(p.features, row),
                                            feature_scratch<C, Arch>(p.key_features, row)));
    last = layout.take<C>(p.finishes_outputs() ? 2 * values : 0);
    pending = layout.take<C>(p.decay == state_decay::per_key ? keys : 1);
    owed = layout.take<C>(p.decay == state_decay::per_key ? keys : 1);
    cut = layout.take<bool>(n);
    multiplies = layout.take<bool>(n);
  }
};

/// Elements from `at` on of a tensor whose last axis is a row, times `factor`, into `width`
/// elements.
template <class C, class Arch>
void load_any_row(const any_view<4>& x, std::int64_t at, std::int64_t width, C* out,
                  C factor) noexcept {
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    simd::load_row<C, Arch>(data + at, x.strides[3], 0, x.extents[3], factor, out, width);
  });
}

/// Row [batch, place, head, :] of a tensor, times `factor`, into `width` elements.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void load_token_row(const any_view<4>& x, std::int64_t batch,
                                         std::int64_t place, std::int64_t head, std::int64_t width,
                                         C* out, C factor = C(1)) noexcept {
  using V = simd::vec<C, Arch>;
  const std::int64_t at = batch * x.strides[0] + place * x.strides[1] + head * x.strides[2];
  // The common case, without a call: rows are short, and many.
  if (x.type == scalar_type_of<C> && x.strides[3] == 1 && x.extents[3] == width) {
    const C* row = static_cast<const C*>(x.data) + at;
    const V f(factor);
    for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
      (V::load_unaligned(row + i) * f).store_aligned(out + i);
    }
  } else {
    load_any_row<C, Arch>(x, at, width, out, factor);
  }
}

/// Whether the rows of one head lie so far apart that no hardware looks for them.
SEQMIX_ALWAYS_INLINE bool rows_lie_apart(const any_view<4>& x) noexcept {
  const std::int64_t step = x.strides[1] * static_cast<std::int64_t>(size_of(x.type));
  return x.given() && (step <= -4096 || step >= 4096);
}

/// Asks for a row ahead of its use.
SEQMIX_ALWAYS_INLINE void prefetch_token_row(const any_view<4>& x, std::int64_t batch,
                                             std::int64_t place, std::int64_t head) noexcept {
  if (!rows_lie_apart(x)) {
    return;
  }
  const auto width = static_cast<std::int64_t>(size_of(x.type));
  const auto* row = static_cast<const std::byte*>(x.data) +
                    width * (batch * x.strides[0] + place * x.strides[1] + head * x.strides[2]);
  for (std::int64_t i = 0; i < x.extents[3] * width; i += 64) {
    __builtin_prefetch(row + i);
  }
}

template <class C, class Arch>
C token_number(const any_view<4>& x, std::int64_t batch, std::int64_t place,
               std::int64_t head) noexcept {
  C value{};
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    value = widen<C>(data[batch * x.strides[0] + place * x.strides[1] + head * x.strides[2]]);
  });
  return value;
}

/// row = row factor.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE void scale_row(C* row, std::int64_t width, C factor) noexcept {
  using V = simd::vec<C, Arch>;
  for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
    (V::load_aligned(row + i) * V(factor)).store_aligned(row + i);
  }
}

/// 1 / sqrt(sum of squares + eps) of a row; zeros behind its end add nothing.
template <class C, class Arch>
C inverse_norm(const C* row, std::int64_t width, double eps) noexcept {
  using V = simd::vec<C, Arch>;
  V squares(C(0));
  for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
    const V x = V::load_aligned(row + i);
    squares = simd::fma(x, x, squares);
  }
  const double sum = static_cast<double>(simd::sum_lanes<C, Arch>(squares)) + eps;
  return sum == 0 ? C(0) : static_cast<C>(1 / std::sqrt(sum));
}

/// The next token's key joins z, and its query says what its output is multiplied by.
template <class C, class Arch>
void add_to_normaliser(const matrix_recurrence_problem& p, std::int64_t t,
                       const token_rows<C, Arch>& rows) noexcept {
  using V = simd::vec<C, Arch>;
  V sum(C(0));
  for (std::int64_t i = 0; i < rows.keys; i += simd::lanes<C, Arch>) {
    const V z = V::load_aligned(rows.z + i) + V::load_aligned(rows.k + t * rows.keys + i);
    z.store_aligned(rows.z + i);
    sum = simd::fma(V::load_aligned(rows.q + t * rows.keys + i), z, sum);
  }
  rows.factor[t] = C(1) / (simd::sum_lanes<C, Arch>(sum) + static_cast<C>(p.normalise_eps));
}

/// Asks for all rows of the token at a place.
SEQMIX_ALWAYS_INLINE void prefetch_token(const matrix_recurrence_problem& p, std::int64_t batch,
                                         std::int64_t place, std::int64_t hv) noexcept {
  const std::int64_t h = p.key_head(hv);
  prefetch_token_row(p.q, batch, place, h);
  prefetch_token_row(p.k, batch, place, h);
  for (const any_view<4>* x : {&p.v, &p.gate, &p.beta, &p.a, &p.b}) {
    prefetch_token_row(*x, batch, place, hv);
  }
}

/// One token of value head hv on its way into row t of a block.
template <class C, class Arch>
struct token_loader {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  const matrix_recurrence_problem& p;
  const token_rows<C, Arch>& rows;
  std::int64_t hv;
  std::int64_t batch;
  std::int64_t place;
  std::int64_t t;

  void load(const any_view<4>& x, std::int64_t head, std::int64_t width, C* out,
            C factor = C(1)) const noexcept {
    load_token_row<C, Arch>(x, batch, place, head, width, out, factor);
  }

  /// `time` is the token's place in the order of the recurrence.
  void query_and_key(std::int64_t time) const noexcept {
    const std::int64_t h = p.key_head(hv);
    C* q = rows.q + t * rows.keys;
    C* k = rows.k + t * rows.keys;
    C scale = static_cast<C>(p.scale);
    if (!p.has_features() && !p.l2norm) {
      load(p.q, h, rows.keys, q, scale);
      load(p.k, h, rows.keys, k);
      return;
    }
    if (p.has_features()) {
      const std::int64_t n = p.q.extents[3];
      const std::int64_t width = padded<C, Arch>(n);
      const auto map = [&](const any_view<4>& x, const any_feature_map& f, feature_role role,
                           C* out) {
        load(x, h, width, rows.raw);
        feature_row<C, Arch>{f, h, rows.raw, n, rows.raw + width, out, rows.keys}.make(role, time);
      };
      map(p.q, p.features, feature_role::query, q);
      map(p.k, p.key_features, feature_role::key, k);
    } else {
      load(p.q, h, rows.keys, q);
      load(p.k, h, rows.keys, k);
    }
    if (p.l2norm) {
      scale *= inverse_norm<C, Arch>(q, rows.keys, p.l2norm_eps);
      scale_row<C, Arch>(k, rows.keys, inverse_norm<C, Arch>(k, rows.keys, p.l2norm_eps));
    }
    scale_row<C, Arch>(q, rows.keys, scale);
  }

  void decay() const noexcept {
    rows.cut[t] = false;
    if (p.decay == state_decay::scalar) {
      rows.decay[t] = settled_factor<C, Arch>(rows.number[t], rows.owed[0]);
      rows.cut[t] = rows.decay[t] == C(0);
    } else if (p.decay == state_decay::per_key) {
      C* factors = rows.decay + t * rows.keys;
      load(p.gate, hv, rows.keys, factors);
      decode_gates<C, Arch>(p.gates, rows.rate, rows.bias, rows.owed, factors, rows.keys);
      for (std::int64_t i = p.key_dim(); i < rows.keys; ++i) {
        factors[i] = C(1);  // behind the end, whatever the encoding makes of zeros
      }
      if (rows.deferring) {
        return;
      }
      typename V::batch_bool_type zero(false);
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        zero = zero || V::load_aligned(factors + i) == V(C(0));
      }
      rows.cut[t] = xsimd::any(zero);
    }
  }

  /// The value, with what the update needs: delta reads the decayed state with beta k.
  void value_and_update() const noexcept {
    C* v = rows.v + t * rows.values;
    C* read = rows.read + t * rows.keys;
    if (p.update == state_update::delta) {
      C strength(1);
      if (rows.beta != nullptr) {
        C* beta = rows.beta + t * rows.values;
        load(p.beta, hv, rows.values, beta);
        decode_betas<C, Arch>(p.betas, beta, rows.values);
      } else {
        strength = static_cast<C>(
            decoded_beta<Arch>(p.betas, token_number<double, Arch>(p.beta, batch, place, hv)));
      }
      load(p.v, hv, rows.values, v, strength);
      if (rows.strength != nullptr) {
        rows.strength[t] = strength;
        return;
      }
      if (p.decay == state_decay::scalar) {
        strength *= rows.decay[t];
      }
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        V x = V::load_aligned(rows.k + t * rows.keys + i) * V(strength);
        if (p.decay == state_decay::per_key) {
          x = x * V::load_aligned(rows.decay + t * rows.keys + i);
        }
        x.store_aligned(read + i);
      }
      return;
    }
    load(p.v, hv, rows.values, v, p.steps.given ? rows.dt[t] : C(1));
    if (p.update == state_update::general) {
      C* b = rows.b + t * rows.keys;
      load(p.a, hv, rows.keys, read);
      load(p.b, hv, rows.keys, b);
      for (std::int64_t i = 0; p.removal && i < rows.keys; i += w) {
        const V x = V::load_aligned(read + i);
        (x * V::load_aligned(b + i)).store_aligned(b + i);
        (V(C(0)) - x).store_aligned(read + i);
      }
    }
  }
};

/// The factors of a value head's only gate, at tokens [first, first + count).
template <class C, class Arch>
void load_numbers(const matrix_recurrence_problem& p, const recurrence_sequence& s, std::int64_t hv,
                  std::int64_t first, std::int64_t count,
                  const token_rows<C, Arch>& rows) noexcept {
  if (p.retention) {
    std::fill_n(rows.number, count, 1 - std::exp2(-5.0 - static_cast<double>(hv)));
    return;
  }
  for (std::int64_t t = 0; t < count; ++t) {
    rows.number[t] =
        p.gate_factor * token_number<double, Arch>(p.gate, s.batch, s.place(first + t), hv);
  }
  for (std::int64_t t = count; t % simd::lanes<double, Arch> != 0; ++t) {
    rows.number[t] = 0;
  }
  if (p.steps.given) {
    decode_steps<C, Arch>(p.steps, hv, rows.number, rows.dt, count);
  } else {
    decode_numbers<Arch>(p.gates, hv, rows.number, count);
  }
}

/// Prepares tokens [first, first + count) of a sequence for value head hv.
template <class C, class Arch>
void load_tokens(const matrix_recurrence_problem& p, const recurrence_sequence& s, std::int64_t hv,
                 std::int64_t first, std::int64_t count, const token_rows<C, Arch>& rows) noexcept {
  if (p.decay == state_decay::per_key && has_head_parameters(p.gates.encoding)) {
    load_head_parameters<C, Arch>(p.gates, hv, p.key_dim(), rows.rate, rows.bias);
  }
  if (p.decay == state_decay::scalar) {
    load_numbers<C, Arch>(p, s, hv, first, count, rows);
  }
  bool apart = false;
  for (const any_view<4>* x : {&p.q, &p.k, &p.v, &p.gate, &p.beta, &p.a, &p.b}) {
    apart = apart || rows_lie_apart(*x);
  }
  for (std::int64_t t = 0; t < count; ++t) {
    constexpr std::int64_t ahead = 6;
    if (apart && first + t + ahead < s.tokens) {
      prefetch_token(p, s.batch, s.place(first + t + ahead), hv);
    }
    const token_loader<C, Arch> token{p, rows, hv, s.batch, s.place(first + t), t};
    token.query_and_key(first + t);
    if (p.normalise) {
      add_to_normaliser<C, Arch>(p, t, rows);
    }
    token.decay();
    token.value_and_update();
  }
  if (p.update != state_update::none) {
    for (std::int64_t i = 0; i < rows.keys; ++i) {
      rows.read[count * rows.keys + i] = C(0);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
