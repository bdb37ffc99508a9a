// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <numbers>
#include <seqmix/common/online_softmax.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

// How rows of scores become weights. Scores are exponents of two; weights are natural.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What one pass over the keys is for. One pass is enough for all but re-weighted softplus; softmax
/// can be told to take two, or three.
enum class key_pass { only, maximum, sums, weights };

/// What a row's last pass needs to know from those before it.
template <class C>
struct row_weighting {
  C factor = C(1);  // softmax: weights are multiplied by it
  C offset = C(0);  // re-weighted softplus: r = max(factor a - offset, 0)^power
  int power = 1;
};

/// x^n by repeated squaring, n >= 1.
template <class V>
SEQMIX_ALWAYS_INLINE V power_of(V x, int n) noexcept {
  V result = x;
  for (int rest = n - 1; rest > 0; rest /= 2) {
    if (rest % 2 == 1) {
      result = result * x;
    }
    x = x * x;
  }
  return result;
}

/// Scores to weights, for every rule but softmax. A NaN stays one.
template <class C, class Arch>
void weigh_scores(const attention_normaliser& how, C* score, std::int64_t n) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr int w = simd::lanes<C, Arch>;
  const V zero(C(0));
  const V one(C(1));
  const V ln2(static_cast<C>(std::numbers::ln2));
  const V shift(static_cast<C>(how.shift * std::numbers::log2e));
  for (std::int64_t j = 0; j < n; j += w) {
    V x = V::load_aligned(score + j);
    switch (how.weights) {
      case attention_weights::sigmoid: {
        x = x + shift;
        const V e = simd::exp2<C, Arch>(zero - xsimd::abs(x));
        x = xsimd::select(x < zero, e, one) / (one + e);
        break;
      }
      case attention_weights::softplus: {
        const V e = simd::exp2<C, Arch>(zero - xsimd::abs(x));
        x = xsimd::select(x < zero, zero, x * ln2) + xsimd::log1p(e);
        break;
      }
      case attention_weights::relu:
        x = xsimd::select(x < zero, zero, x * ln2);
        break;
      default:
        x = x * ln2;
        break;
    }
    x.store_aligned(score + j);
  }
}

/// Softmax in a pass of its own kind; returns the factor by which what the row holds shrinks.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE C softmax_pass(key_pass pass, C* score, std::int64_t n,
                                    softmax_state<C, Arch>& state,
                                    const row_weighting<C>& row) noexcept {
  using V = simd::vec<C, Arch>;
  if (pass == key_pass::only || pass == key_pass::sums) {
    return online_softmax<C, Arch>(score, n, state);
  }
  if (pass == key_pass::maximum) {
    take_maximum<C, Arch>(score, n, state);
    return C(1);
  }
  const V reference(softmax_reference(state.maximum));
  for (std::int64_t j = 0; j < n; j += simd::lanes<C, Arch>) {
    (simd::exp2<C, Arch>(V::load_aligned(score + j) - reference) * V(row.factor))
        .store_aligned(score + j);
  }
  return C(1);
}

/// Adds up the weights of the other rules, hidden ones being zero, after re-weighting them in a
/// second pass. Their maximum stays zero, so that partial results add without factors; in a first
/// pass it is the largest weight.
template <class C, class Arch>
void sum_weights(key_pass pass, C* weight, std::int64_t n, softmax_state<C, Arch>& state,
                 const row_weighting<C>& row) noexcept {
  using V = simd::vec<C, Arch>;
  const V zero(C(0));
  if (pass == key_pass::sums) {
    take_maximum<C, Arch>(weight, n, state);
  } else {
    state.maximum = C(0);
  }
  V sum(C(0));
  for (std::int64_t j = 0; j < n; j += simd::lanes<C, Arch>) {
    V x = V::load_aligned(weight + j);
    if (pass == key_pass::weights) {
      const V above = x * V(row.factor) - V(row.offset);
      x = power_of(xsimd::select(above < zero, zero, above), row.power);
      x.store_aligned(weight + j);
    }
    sum += x;
  }
  state.sum += sum;
}

/// A row's sums when it has seen all its keys.
template <class C>
struct row_total {
  C maximum;
  C sum;
  C shrink = C(1);  // values were added against another maximum
};

/// What values are divided by.
template <class C>
SEQMIX_ALWAYS_INLINE C divisor_of(const attention_normaliser& how, C sum,
                                  std::int64_t visible) noexcept {
  switch (how.weights) {
    case attention_weights::softmax:
    case attention_weights::softplus:
      return sum;
    case attention_weights::sigmoid:
      return C(1);
    default:
      return how.mean ? static_cast<C>(visible) : C(1);
  }
}

/// Between the passes of softplus: largest weight and sum give what re-weighting needs. Weights are
/// taken relative to the largest one, so that no power leaves the range of C.
template <class C>
SEQMIX_ALWAYS_INLINE row_weighting<C> reweighting(int power, C largest, C sum, std::int64_t visible,
                                                  std::int64_t place) noexcept {
  const C offset = place < 3 ? C(0) : C(1);
  const C most = largest * static_cast<C>(visible) / sum;
  if (!(most > C(1) + C(0x1p-10)) && place >= 3) {
    return {};
  }
  if (!(most > C(0))) {
    return {};
  }
  const C unit = C(1) / (most - offset);
  return {static_cast<C>(visible) / sum * unit, offset * unit, power};
}

}  // namespace detail

SEQMIX_END_NAMESPACE
