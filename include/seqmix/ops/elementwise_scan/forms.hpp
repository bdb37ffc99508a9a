// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/ops/elementwise_scan/fixed_scan.hpp>
#include <seqmix/simd/math.hpp>

// Steps of the monoids.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What most steps have: no parameters, and a state that is the caller's numbers.
template <class C, class Arch>
struct plain_step {
  static constexpr int outputs = 1;
  static constexpr int states = 1;
  static constexpr int parameters = 0;
  static constexpr int width = 4;
  static constexpr bool pairs = false;
  static double parameter(const scan_problem&, std::int64_t, double x) noexcept { return x; }
  template <class W, int N>
  SEQMIX_ALWAYS_INLINE static void open(W (&)[N], bool /*given*/) noexcept {}
  template <class W, int N>
  SEQMIX_ALWAYS_INLINE static void close(W (&)[N]) noexcept {}
};

/// A decay from its logarithm g, as 2^n (1 + less), |less| < 0.42: near 1 the factor has fewer
/// digits than less, and a rounding error of it would be there anew with every token. It works with
/// halves: no power and no sum on the way is out of the range when the result is not.
template <class W>
struct log_decay {
  using C = simd::element<W>;
  W less;
  W half_power;  // 2^(n - 1); 0 where e^g is
  decltype(W() < W()) over;

  SEQMIX_ALWAYS_INLINE explicit log_decay(W g) noexcept {
    const simd::exp_parts<W> parts(simd::limited_exponent(g));
    less = parts.growth();
    half_power = parts.half_power;
    over = half_power == simd::all<W>(0);
  }

  /// Half of e^g, and of 1 - e^g without the cancellation near g = 0.
  SEQMIX_ALWAYS_INLINE W half_factor() const noexcept {
    return simd::fma(less, half_power, half_power);
  }
  SEQMIX_ALWAYS_INLINE W half_complement() const noexcept {
    return simd::fnma(less, half_power, simd::all<W>(0.5) - half_power);
  }

  /// e^g h + b. What a factor of zero multiplies is over, whatever it is.
  SEQMIX_ALWAYS_INLINE W apply(W h, W half_b) const noexcept {
    constexpr C largest = std::numeric_limits<C>::max();
    const W half = half_power * select(over, simd::all<W>(0), h);
    // What is infinite stays: its product with less may be of the other sign. In this order NaN
    // stays too: the hardware takes the second where one is NaN.
    const W finite = max(simd::all<W>(-largest), min(simd::all<W>(largest), half));
    const W half_sum = half + simd::fma(less, finite, half_b);
    return half_sum + half_sum;
  }
};

/// h = a h + b.
template <bool Log>
struct affine_of {
  template <class C, class Arch>
  struct step : plain_step<C, Arch> {
    static constexpr scan_form form = Log ? scan_form::affine_log : scan_form::affine;
    static constexpr int inputs = 2;
    static constexpr int width = Log ? 2 : 4;

    template <class W>
    SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[1], const W (&in)[2],
                                           const W*, W (&out)[1]) noexcept {
      const W before = h[0];
      if constexpr (Log) {
        h[0] = log_decay<W>(in[0]).apply(before, simd::all<W>(0.5) * in[1]);
      } else {
        const W zero = simd::all<W>(0);
        h[0] = simd::fma(in[0], select(in[0] == zero, zero, before), in[1]);
      }
      out[0] = p.exclusive ? before : h[0];
    }
  };
};

/// The same in complex numbers; inputs are the two parts of a and of b.
template <class C, class Arch>
struct complex_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::affine_complex;
  static constexpr int inputs = 4;
  static constexpr int outputs = 2;
  static constexpr int states = 2;
  static constexpr int width = 2;
  static constexpr bool pairs = true;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[2], const W (&in)[4],
                                         const W*, W (&out)[2]) noexcept {
    const W zero = simd::all<W>(0);
    const auto over = (in[0] == zero) && (in[1] == zero);
    const W before[2] = {h[0], h[1]};
    const W re = select(over, zero, before[0]);
    const W im = select(over, zero, before[1]);
    h[0] = simd::fma(in[0], re, simd::fnma(in[1], im, in[2]));
    h[1] = simd::fma(in[0], im, simd::fma(in[1], re, in[3]));
    out[0] = p.exclusive ? before[0] : h[0];
    out[1] = p.exclusive ? before[1] : h[1];
  }
};

/// e^-|m - x|, 1 where both are the same infinity.
template <class W>
SEQMIX_ALWAYS_INLINE W smaller_weight(W m, W x) noexcept {
  const W zero = simd::all<W>(0);
  const W difference = select(m == x, zero, zero - abs(m - x));
  return simd::exp_parts<W>(max(simd::all<W>(simd::least_exponent<W>), difference)).value();
}

/// The larger of two numbers; NaN when either is.
template <class W>
SEQMIX_ALWAYS_INLINE W larger(W m, W x) noexcept {
  // The hardware takes the second where one is NaN. Not m != m, which xsimd 8 finds false of NaN
  // on AVX.
  return select(m == m, max(m, x), m);
}

/// A maximum m and the sum s of e^(x - m), which is at least 1 once a token was there.
template <class C, class Arch>
struct log_sum_exp_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::log_sum_exp;
  static constexpr int inputs = 1;
  static constexpr int states = 2;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void open(W (&h)[2], bool given) noexcept {
    h[0] = given ? h[0] : simd::all<W>(-std::numeric_limits<C>::infinity());
    h[1] = simd::all<W>(given ? 1 : 0);
  }
  /// Of no token any finite number beside -infinity.
  template <class W>
  SEQMIX_ALWAYS_INLINE static W value(const W (&h)[2]) noexcept {
    return h[0] + simd::log_of_normal(h[1]);
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void close(W (&h)[2]) noexcept {
    h[0] = value(h);
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[2], const W (&in)[1],
                                         const W*, W (&out)[1]) noexcept {
    const W one = simd::all<W>(1);
    const W before[2] = {h[0], h[1]};
    const W x = in[0];
    const W difference = simd::all<W>(0) - abs(before[0] - x);
    // In this order NaN, also of equal infinities, counts as far apart: m has all there is to know.
    const simd::exp_parts<W> parts(max(difference, simd::all<W>(simd::least_exponent<W>)));
    const W weight = parts.value();
    const auto grows = x > before[0];
    h[1] = simd::fma(select(grows, before[1], one), weight, select(grows, one, before[1]));
    h[0] = larger(before[0], x);
    if (p.exclusive) {
      out[0] = value(before);
    } else {
      out[0] = value(h);
    }
  }
};

template <class C, class Arch>
struct max_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::max;
  static constexpr int inputs = 1;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void open(W (&h)[1], bool given) noexcept {
    h[0] = given ? h[0] : simd::all<W>(-std::numeric_limits<C>::infinity());
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[1], const W (&in)[1],
                                         const W*, W (&out)[1]) noexcept {
    const W before = h[0];
    h[0] = larger(before, in[0]);
    out[0] = p.exclusive ? before : h[0];
  }
};

/// A sum and what rounding has left of it, which joins the next token: long sums of one sign lose
/// nothing.
template <class C, class Arch>
struct sum_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::sum;
  static constexpr int inputs = 1;
  static constexpr int states = 2;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[2], const W (&in)[1],
                                         const W*, W (&out)[1]) noexcept {
    const W before = h[0];
    const W x = in[0] + h[1];
    const W sum = before + x;
    const W added = sum - before;
    const W error = (before - (sum - added)) + (x - added);
    // Sums that are infinite leave no number.
    h[1] = select(error - error == simd::all<W>(0), error, simd::all<W>(0));
    h[0] = sum;
    out[0] = p.exclusive ? before : sum;
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
