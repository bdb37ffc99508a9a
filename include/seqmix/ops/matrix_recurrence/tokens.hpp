// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/core/convert.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/matrix_recurrence/problem.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/math.hpp>

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
  C* q;              // [block][keys], scaled
  C* k;              // [block][keys]
  C* decay;          // [block][keys] or [block]: factors, not logarithms
  C* read;           // [block + 1][keys]: what the state is read with before it is written
  C* b;              // [block][keys]
  C* beta;           // [block][values], when there is one for each value
  C* v;              // [block][values], of delta times beta
  C* o;              // [block][values]
  C* z;              // [keys]: the sum of all keys so far, of the denominator
  C* factor;         // [block]: what outputs are multiplied by, of the denominator
  C* pending;        // [keys] or [1]: decays that the state has not seen yet
  bool* cut;         // [block]: some factor is zero, which ends what was before
  bool* multiplies;  // [block]: the state is multiplied by `decay`

  /// Room for `n` tokens.
  token_rows(scratch_layout& layout, const matrix_recurrence_problem& p, std::int64_t n) noexcept {
    constexpr std::int64_t w = simd::lanes<C, Arch>;
    keys = (p.key_dim() + w - 1) / w * w;
    values = (p.value_dim() + 4 * w - 1) / (4 * w) * (4 * w);
    const bool reads = p.update != state_update::none;
    q = layout.take<C>(n * keys);
    k = layout.take<C>(n * keys);
    decay = layout.take<C>(p.decay == state_decay::per_key ? n * keys : n);
    read = layout.take<C>(reads ? (n + 1) * keys : 0);
    b = layout.take<C>(p.update == state_update::general ? n * keys : 0);
    const bool many_betas = p.update == state_update::delta && p.beta.extents[3] > 1;
    beta = many_betas ? layout.take<C>(n * values) : nullptr;
    v = layout.take<C>(n * values);
    o = layout.take<C>(n * values);
    z = layout.take<C>(p.normalise ? keys : 0);
    factor = layout.take<C>(p.normalise ? n : 0);
    pending = layout.take<C>(p.decay == state_decay::per_key ? keys : 1);
    cut = layout.take<bool>(n);
    multiplies = layout.take<bool>(n);
  }
};

/// Row [batch, place, head, :] of a tensor into `width` elements.
template <class C, class Arch>
void load_token_row(const any_view<4>& x, std::int64_t batch, std::int64_t place, std::int64_t head,
                    std::int64_t width, C* out) noexcept {
  const std::int64_t at = batch * x.strides[0] + place * x.strides[1] + head * x.strides[2];
  const std::int64_t n = x.extents[3];
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
      simd::load_strided<C, Arch>(data + at, x.strides[3], i, n).store_aligned(out + i);
    }
  });
}

/// Asks for a row ahead of its use. With many heads the rows of one lie kilobytes apart, where no
/// hardware looks for them.
SEQMIX_ALWAYS_INLINE void prefetch_token_row(const any_view<4>& x, std::int64_t batch,
                                             std::int64_t place, std::int64_t head) noexcept {
  if (!x.given()) {
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

/// The feature map of a row of `n` elements; zeros stay behind its end. A NaN stays one.
template <class C, class Arch>
void map_features(feature_map map, C* row, std::int64_t n, std::int64_t width) noexcept {
  using V = simd::vec<C, Arch>;
  const V zero(C(0));
  const V one(C(1));
  for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
    const V x = V::load_aligned(row + i);
    const V positive = xsimd::select(x < zero, zero, x);
    const V e = xsimd::exp(zero - xsimd::abs(x));
    const V logistic = xsimd::select(x < zero, e, one) / (one + e);
    V y = x;
    switch (map) {
      case feature_map::elu_plus_1:
        y = xsimd::select(x < zero, e, x + one);
        break;
      case feature_map::relu:
        y = positive;
        break;
      case feature_map::relu_squared:
        y = positive * positive;
        break;
      case feature_map::silu:
        y = x * logistic;
        break;
      case feature_map::sigmoid:
        y = logistic;
        break;
      case feature_map::exponential:
        y = xsimd::exp(x);
        break;
      default:
        break;
    }
    y.store_aligned(row + i);
  }
  for (std::int64_t i = n; i < width; ++i) {
    row[i] = C(0);
  }
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

/// Prepares tokens [first, first + count) of a sequence for value head hv.
template <class C, class Arch>
void load_tokens(const matrix_recurrence_problem& p, const recurrence_sequence& s, std::int64_t hv,
                 std::int64_t first, std::int64_t count, const token_rows<C, Arch>& rows) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t h = p.key_head(hv);
  const bool delta = p.update == state_update::delta;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t place = s.place(first + t);
    const auto load = [&](const any_view<4>& x, std::int64_t head, std::int64_t width, C* out) {
      load_token_row<C, Arch>(x, s.batch, place, head, width, out);
    };
    constexpr std::int64_t ahead = 6;
    if (first + t + ahead < s.tokens) {
      const std::int64_t later = s.place(first + t + ahead);
      prefetch_token_row(p.q, s.batch, later, h);
      prefetch_token_row(p.k, s.batch, later, h);
      for (const any_view<4>* x : {&p.v, &p.gate, &p.beta, &p.a, &p.b}) {
        prefetch_token_row(*x, s.batch, later, hv);
      }
    }
    C* q = rows.q + t * rows.keys;
    C* k = rows.k + t * rows.keys;
    C* v = rows.v + t * rows.values;
    load(p.q, h, rows.keys, q);
    load(p.k, h, rows.keys, k);
    load(p.v, hv, rows.values, v);
    if (p.features != feature_map::identity) {
      map_features<C, Arch>(p.features, q, p.key_dim(), rows.keys);
      map_features<C, Arch>(p.features, k, p.key_dim(), rows.keys);
    }
    C scale = static_cast<C>(p.scale);
    if (p.l2norm) {
      scale *= inverse_norm<C, Arch>(q, rows.keys, p.l2norm_eps);
      scale_row<C, Arch>(k, rows.keys, inverse_norm<C, Arch>(k, rows.keys, p.l2norm_eps));
    }
    scale_row<C, Arch>(q, rows.keys, scale);
    if (p.normalise) {
      add_to_normaliser<C, Arch>(p, t, rows);
    }

    bool cut = false;
    if (p.decay == state_decay::scalar) {
      const double gate =
          p.retention ? std::log1p(-std::exp2(-5.0 - static_cast<double>(hv)))
                      : p.gate_factor * token_number<double, Arch>(p.gate, s.batch, place, hv);
      rows.decay[t] = static_cast<C>(std::exp(gate));
      cut = rows.decay[t] == C(0);
    } else if (p.decay == state_decay::per_key) {
      C* decay = rows.decay + t * rows.keys;
      load(p.gate, hv, rows.keys, decay);
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        // To the last bits: what a factor near 1 is off grows with every token that it lasts.
        const V e = xsimd::exp(V::load_aligned(decay + i));
        e.store_aligned(decay + i);
      }
      for (std::int64_t i = 0; i < p.key_dim(); ++i) {
        cut |= decay[i] == C(0);
      }
    }
    rows.cut[t] = cut;

    if (delta) {
      C* read = rows.read + t * rows.keys;
      C strength(1);
      if (rows.beta != nullptr) {
        C* beta = rows.beta + t * rows.values;
        load(p.beta, hv, rows.values, beta);
      } else {
        strength = token_number<C, Arch>(p.beta, s.batch, place, hv);
        scale_row<C, Arch>(v, rows.values, strength);
      }
      if (p.decay == state_decay::scalar) {
        strength *= rows.decay[t];
      }
      for (std::int64_t i = 0; i < rows.keys; i += w) {
        V x = V::load_aligned(k + i) * V(strength);
        if (p.decay == state_decay::per_key) {
          x = x * V::load_aligned(rows.decay + t * rows.keys + i);
        }
        x.store_aligned(read + i);
      }
    } else if (p.update == state_update::general) {
      C* read = rows.read + t * rows.keys;
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
  if (p.update != state_update::none) {
    for (std::int64_t i = 0; i < rows.keys; ++i) {
      rows.read[count * rows.keys + i] = C(0);
    }
  }
}

/// Writes the outputs of a block for the values [begin, end).
template <class C, class Arch>
void store_outputs(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                   std::int64_t hv, std::int64_t first, std::int64_t count, std::int64_t begin,
                   std::int64_t end, const token_rows<C, Arch>& rows) noexcept {
  using V = simd::vec<C, Arch>;
  with_real_elements(p.o.data, p.o.type, [&](auto* out) __attribute__((always_inline)) {
    for (std::int64_t t = 0; t < count; ++t) {
      const std::int64_t at =
          s.batch * p.o.strides[0] + s.place(first + t) * p.o.strides[1] + hv * p.o.strides[2];
      const V factor(p.normalise ? rows.factor[t] : C(1));
      for (std::int64_t i = begin; i < end; i += simd::lanes<C, Arch>) {
        simd::store_strided<C, Arch>(V::load_aligned(rows.o + t * rows.values + i) * factor,
                                     out + at, p.o.strides[3], i, end);
      }
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
