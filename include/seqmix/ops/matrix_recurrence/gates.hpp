// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/matrix_recurrence/problem.hpp>
#include <seqmix/simd/math.hpp>

// From encoded gates and strengths to what the recurrence multiplies with, to the last bits.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

SEQMIX_ALWAYS_INLINE constexpr bool has_head_parameters(gate_encoding e) noexcept {
  return e == gate_encoding::softplus || e == gate_encoding::bounded;
}

/// Gate `d` of a value head.
template <class Tag>
double head_parameter_at(const head_parameter& x, std::int64_t hv, std::int64_t d) noexcept {
  return x.given() ? real_at<double>(x, hv, x.extents[1] == 1 ? 0 : d) : 0;
}

template <class Tag>
double softplus_of(double x) noexcept {
  // Above all of the range, and NaN stays one.
  return (x < 0 ? 0 : x) + std::log1p(std::exp(-std::fabs(x)));
}

template <class Tag>
double logistic_of(double x) noexcept {
  return 1 / (1 + std::exp(-x));
}

/// The factor of a value head's only gate.
template <class Tag>
double decoded_gate(const gate_form& form, std::int64_t hv, double x) noexcept {
  switch (form.encoding) {
    case gate_encoding::log2:
      return std::exp2(x);
    case gate_encoding::linear:
      return x;
    case gate_encoding::softplus:
      return std::exp(-std::exp(head_parameter_at<Tag>(form.a_log, hv, 0)) *
                      softplus_of<Tag>(x + head_parameter_at<Tag>(form.bias, hv, 0)));
    case gate_encoding::bounded:
      return std::exp(form.constant *
                      logistic_of<Tag>(std::exp(head_parameter_at<Tag>(form.a_log, hv, 0)) *
                                       (x + head_parameter_at<Tag>(form.bias, hv, 0))));
    case gate_encoding::exponential:
      return std::exp(-std::exp(x));
    case gate_encoding::logsigmoid:
      return std::exp(-softplus_of<Tag>(-x) / form.constant);
    default:
      return std::exp(x);
  }
}

/// A value head's parameters as rows: e^a_log and the bias of every gate.
template <class C, class Arch>
void load_head_parameters(const gate_form& form, std::int64_t hv, std::int64_t gates, C* rate,
                          C* bias) noexcept {
  for (std::int64_t d = 0; d < gates; ++d) {
    rate[d] = static_cast<C>(std::exp(head_parameter_at<Arch>(form.a_log, hv, d)));
    bias[d] = static_cast<C>(head_parameter_at<Arch>(form.bias, hv, d));
  }
}

/// A factor as the compute type has it. What it is off would grow with every token that a state
/// lasts, and add up where gates are all alike: so it is owed, as a share, to the next factor.
template <class C, class Arch>
C settled_factor(double exact, C& owed) noexcept {
  const double wanted = exact * (1 + static_cast<double>(owed));
  const auto factor = static_cast<C>(wanted);
  const double off = wanted / static_cast<double>(factor) - 1;
  owed = std::isfinite(off) ? static_cast<C>(off) : C(0);
  return factor;
}

/// The same for e^g with logarithms in place of factors, where all of a register are so near 0 that
/// states last long enough to tell. Elsewhere, and in double, `strong()` is e^g as it serves.
template <class C, class Arch, class Strong>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> settled_factor(simd::vec<C, Arch> g, Strong&& strong,
                                                       C* owed) noexcept {
  using V = simd::vec<C, Arch>;
  const V one(C(1));
  if (std::is_same_v<C, double> || !xsimd::all(xsimd::abs(g) <= V(C(1) / 64))) {
    V(C(0)).store_aligned(owed);
    return strong();
  }
  // All here is e^g - 1, which near 1 has more digits than e^g. Its series, to g^4: what follows is
  // below 2^-30 of it.
  const V cubic = simd::fma(g, V(C(1) / 24), V(C(1) / 6));
  const V less = g * simd::fma(g, simd::fma(g, cubic, V(C(0.5))), one);
  const V wanted = simd::fma(V::load_aligned(owed), one + less, less);
  const V factor = one + wanted;
  (wanted - (factor - one)).store_aligned(owed);
  return factor;
}

/// Factors in place of a row of encoded gates. The rows of parameters are read where the encoding
/// has any; `owed` is a row, from the sequence's first token on.
template <class C, class Arch>
void decode_gates(const gate_form& form, const C* rate, const C* bias, C* owed, C* row,
                  std::int64_t width) noexcept {
  using V = simd::vec<C, Arch>;
  const V zero(C(0));
  const V constant(static_cast<C>(form.constant));
  // f makes logarithms of gates.
  const auto over_row = [&](auto&& f) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
      const V g = f(V::load_aligned(row + i), i);
      settled_factor<C, Arch>(
          g, [&] { return simd::exp<C, Arch>(g); }, owed + i)
          .store_aligned(row + i);
    }
  };
  switch (form.encoding) {
    case gate_encoding::log2:
      for (std::int64_t i = 0; i < width; i += simd::lanes<C, Arch>) {
        const V x = V::load_aligned(row + i);
        const V g = x * V(C(0.6931471805599453));
        settled_factor<C, Arch>(
            g, [&] { return simd::precise_exp2<C, Arch>(x); }, owed + i)
            .store_aligned(row + i);
      }
      return;
    case gate_encoding::linear:
      return;
    case gate_encoding::softplus:
      return over_row([&](V x, std::int64_t i) {
        return zero -
               V::load_aligned(rate + i) * simd::softplus<C, Arch>(x + V::load_aligned(bias + i));
      });
    case gate_encoding::bounded:
      return over_row([&](V x, std::int64_t i) {
        const V y = V::load_aligned(rate + i) * (x + V::load_aligned(bias + i));
        return constant * simd::logistic<C, Arch>(y);
      });
    case gate_encoding::exponential:
      return over_row([&](V x, std::int64_t) { return zero - simd::exp<C, Arch>(x); });
    case gate_encoding::logsigmoid:
      return over_row(
          [&](V x, std::int64_t) { return (zero - simd::softplus<C, Arch>(zero - x)) / constant; });
    default:
      return over_row([](V x, std::int64_t) { return x; });
  }
}

template <class Tag>
double decoded_beta(beta_encoding encoding, double x) noexcept {
  switch (encoding) {
    case beta_encoding::sigmoid:
      return logistic_of<Tag>(x);
    case beta_encoding::doubled_sigmoid:
      return 2 * logistic_of<Tag>(x);
    default:
      return x;
  }
}

template <class C, class Arch>
void decode_betas(beta_encoding encoding, C* row, std::int64_t width) noexcept {
  using V = simd::vec<C, Arch>;
  const V factor(encoding == beta_encoding::doubled_sigmoid ? C(2) : C(1));
  for (std::int64_t i = 0; encoding != beta_encoding::plain && i < width;
       i += simd::lanes<C, Arch>) {
    (factor * simd::logistic<C, Arch>(V::load_aligned(row + i))).store_aligned(row + i);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
