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
double logistic_of(double x) noexcept {
  return 1 / (1 + std::exp(-x));
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

/// Calls `f(logs)` with the function that makes logarithms g of encoded gates: `logs(x, rate,
/// bias)` of a register, its parameters asked for, as `rate()`, where the encoding has any.
template <class C, class Arch, class F>
SEQMIX_ALWAYS_INLINE void with_gate_logs(const gate_form& form, F&& f) noexcept {
  using V = simd::vec<C, Arch>;
  const V zero(C(0));
  const V constant(static_cast<C>(form.constant));
  switch (form.encoding) {
    case gate_encoding::softplus:
      return f([&](V x, const auto& rate, const auto& bias) __attribute__((always_inline)) {
        return zero - rate() * simd::softplus<C, Arch>(x + bias());
      });
    case gate_encoding::bounded:
      return f([&](V x, const auto& rate, const auto& bias) __attribute__((always_inline)) {
        return constant * simd::logistic<C, Arch>(rate() * (x + bias()));
      });
    case gate_encoding::exponential:
      return f([&](V x, const auto&, const auto&)
                   __attribute__((always_inline)) { return zero - simd::exp<C, Arch>(x); });
    case gate_encoding::logsigmoid:
      return f([&](V x, const auto&, const auto&) __attribute__((always_inline)) {
        return (zero - simd::softplus<C, Arch>(zero - x)) / constant;
      });
    default:
      return f([](V x, const auto&, const auto&) { return x; });
  }
}

/// Factors in place of a row of encoded gates. The rows of parameters are read where the encoding
/// has any; `owed` is a row, from the sequence's first token on.
template <class C, class Arch>
void decode_gates(const gate_form& form, const C* rate, const C* bias, C* owed, C* row,
                  std::int64_t width) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  if (form.encoding == gate_encoding::linear) {
    return;
  }
  if (form.encoding == gate_encoding::log2) {
    for (std::int64_t i = 0; i < width; i += w) {
      const V x = V::load_aligned(row + i);
      const V g = x * V(C(0.6931471805599453));
      settled_factor<C, Arch>(
          g, [&] { return simd::precise_exp2<C, Arch>(x); }, owed + i)
          .store_aligned(row + i);
    }
    return;
  }
  with_gate_logs<C, Arch>(form, [&](const auto& logs) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < width; i += w) {
      const V g = logs(
          V::load_aligned(row + i), [&] { return V::load_aligned(rate + i); },
          [&] { return V::load_aligned(bias + i); });
      settled_factor<C, Arch>(
          g, [&] { return simd::exp<C, Arch>(g); }, owed + i)
          .store_aligned(row + i);
    }
  });
}

/// Factors in place of the only gates of many tokens of value head hv, in double; `count` and some
/// more, up to whole registers.
template <class Arch>
void decode_numbers(const gate_form& form, std::int64_t hv, double* x,
                    std::int64_t count) noexcept {
  using V = simd::vec<double, Arch>;
  constexpr std::int64_t w = simd::lanes<double, Arch>;
  if (form.encoding == gate_encoding::linear) {
    return;
  }
  if (form.encoding == gate_encoding::log2) {
    for (std::int64_t i = 0; i < count; i += w) {
      simd::precise_exp2<double, Arch>(V::load_aligned(x + i)).store_aligned(x + i);
    }
    return;
  }
  const V rate(std::exp(head_parameter_at<Arch>(form.a_log, hv, 0)));
  const V bias(head_parameter_at<Arch>(form.bias, hv, 0));
  with_gate_logs<double, Arch>(form, [&](const auto& logs) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < count; i += w) {
      const V g = logs(V::load_aligned(x + i), [&] { return rate; }, [&] { return bias; });
      simd::exp<double, Arch>(g).store_aligned(x + i);
    }
  });
}

/// Time steps in place of the numbers of many tokens, and the factors of the state that they make.
template <class C, class Arch>
void decode_steps(const time_steps& steps, std::int64_t hv, double* x, C* dt,
                  std::int64_t count) noexcept {
  using V = simd::vec<double, Arch>;
  constexpr std::int64_t w = simd::lanes<double, Arch>;
  const V rate(head_parameter_at<Arch>(steps.rate, hv, 0));
  const V bias(head_parameter_at<Arch>(steps.bias, hv, 0));
  const V least(steps.least);
  const V most(steps.most);
  alignas(64) double lane[w];
  for (std::int64_t i = 0; i < count; i += w) {
    V step = V::load_aligned(x + i) + bias;
    step = steps.softplus ? simd::softplus<double, Arch>(step) : step;
    step = xsimd::select(step < least, least, xsimd::select(step > most, most, step));
    step.store_aligned(lane);
    for (std::int64_t j = 0; j < w; ++j) {
      dt[i + j] = static_cast<C>(lane[j]);
    }
    simd::exp<double, Arch>(rate * step).store_aligned(x + i);
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
