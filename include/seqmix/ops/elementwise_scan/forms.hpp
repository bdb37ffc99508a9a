// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <seqmix/ops/elementwise_scan/engine.hpp>
#include <seqmix/simd/math.hpp>

// Forms whose state is a few numbers of each channel. A step says what one token does with
// registers of channels:
//
//     inputs, outputs, states, parameters     registers that it takes
//     width                                   channels side by side, in registers
//     apply(p, h, in, parameters, out)        h becomes the next state

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class C, class Arch, template <class, class> class Step>
struct fixed_scan {
  using V = simd::vec<C, Arch>;
  using step = Step<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::size_t inputs = step::inputs;
  static constexpr std::size_t outputs = step::outputs;

  static constexpr std::int64_t planes(const scan_problem&) noexcept { return step::states; }
  static constexpr std::int64_t parameter_planes(const scan_problem&) noexcept {
    return step::parameters;
  }
  static void load_parameters(const scan_problem& p, std::int64_t first, std::int64_t channels,
                              C* rows, std::int64_t row_step) noexcept {
    for (std::int64_t i = 0; i < step::parameters; ++i) {
      const any_view<3>& x = p.parameters[static_cast<std::size_t>(i)];
      for (std::int64_t c = 0; c < row_step; ++c) {
        rows[i * row_step + c] = C(0);
      }
      with_real_elements(x.data, x.type, [&](const auto* data) {
        for (std::int64_t c = 0; c < channels; ++c) {
          rows[i * row_step + c] = static_cast<C>(
              step::parameter(p, i, widen<double>(data[(first + c) * x.strides[0]])));
        }
      });
    }
  }
  static void open(const scan_problem&, bool given, C* state, std::int64_t n) noexcept {
    over_state(state, n,
               [&](V(&h)[step::states]) __attribute__((always_inline)) { step::open(h, given); });
  }
  static void close(const scan_problem&, C* state, std::int64_t n) noexcept {
    over_state(state, n,
               [](V(&h)[step::states]) __attribute__((always_inline)) { step::close(h); });
  }

  /// Token by token, so that memory is read and written row by row; states wait in the first cache.
  static void run(const scan_problem& p, const scan_tile<C>& x) noexcept {
    for (std::int64_t t = 0; t < x.tokens; ++t) {
      std::int64_t c = 0;
      for (; c + step::width * w <= x.channels; c += step::width * w) {
        run_registers<step::width>(p, x, t, c);
      }
      for (; c < x.channels; c += w) {
        run_registers<1>(p, x, t, c);
      }
    }
  }

 private:
  template <class F>
  SEQMIX_ALWAYS_INLINE static void over_state(C* state, std::int64_t n, F&& f) noexcept {
    for (std::int64_t c = 0; c < n; c += w) {
      V h[step::states];
      for (std::int64_t s = 0; s < step::states; ++s) {
        h[s] = V::load_aligned(state + s * n + c);
      }
      f(h);
      for (std::int64_t s = 0; s < step::states; ++s) {
        h[s].store_aligned(state + s * n + c);
      }
    }
  }

  template <int Registers>
  SEQMIX_ALWAYS_INLINE static void run_registers(const scan_problem& p, const scan_tile<C>& x,
                                                 std::int64_t t, std::int64_t c) noexcept {
    const bool streams = Registers * sizeof(V) % 64 == 0 && x.streams;
    simd::unroll<Registers>([&](auto r) __attribute__((always_inline)) {
      const std::int64_t at = c + r * w;
      V h[step::states];
      V parameters[step::parameters + 1];
      V in[step::inputs];
      V out[step::outputs];
      simd::unroll<step::states>([&](auto s) __attribute__((always_inline)) {
        h[s] = V::load_aligned(x.state + s * x.plane_step + at);
      });
      simd::unroll<step::parameters>([&](auto i) __attribute__((always_inline)) {
        parameters[i] = V::load_aligned(x.parameters + i * x.plane_step + at);
      });
      simd::unroll<step::inputs>([&](auto i) __attribute__((always_inline)) {
        in[i] = V::load_unaligned(x.in[i] + t * x.in_step[i] + at);
        if (r * sizeof(V) % 64 == 0) {
          __builtin_prefetch(x.in[i] + (t + x.ahead) * x.in_step[i] + at);
        }
      });
      step::apply(p, h, in, parameters, out);
      simd::unroll<step::outputs>([&](auto i) __attribute__((always_inline)) {
        C* to = x.out[i] + t * x.out_step[i] + at;
        if (streams) {
          simd::stream<C, Arch>(out[i], to);
        } else {
          out[i].store_unaligned(to);
        }
      });
      simd::unroll<step::states>([&](auto s) __attribute__((always_inline)) {
        h[s].store_aligned(x.state + s * x.plane_step + at);
      });
    });
  }
};

/// What most steps have: no parameters, and a state that is the caller's numbers.
template <class C, class Arch>
struct plain_step {
  using V = simd::vec<C, Arch>;
  static constexpr int outputs = 1;
  static constexpr int states = 1;
  static constexpr int parameters = 0;
  static constexpr int width = 4;
  static double parameter(const scan_problem&, std::int64_t, double x) noexcept { return x; }
  template <int N>
  SEQMIX_ALWAYS_INLINE static void open(V (&)[N], bool /*given*/) noexcept {}
  template <int N>
  SEQMIX_ALWAYS_INLINE static void close(V (&)[N]) noexcept {}
};

/// A decay from its logarithm g. Near 1 it has fewer digits than 1 - e^g, and a rounding error of
/// it is there anew with every token: `weak` decays are carried as e^g - 1.
template <class C, class Arch>
struct log_decay {
  using V = simd::vec<C, Arch>;
  V factor;  // e^g
  V less;    // e^g - 1 where it is weak
  decltype(V() < V()) weak;

  static constexpr double factorial(int n) noexcept { return n < 2 ? 1 : n * factorial(n - 1); }

  SEQMIX_ALWAYS_INLINE explicit log_decay(V g) noexcept
      : factor(simd::exp<C, Arch>(g)), weak(xsimd::abs(g) < V(C(0.125))) {
    // The series to g^5 / 5!, in double to g^10 / 10!.
    constexpr int terms = std::is_same_v<C, float> ? 5 : 10;
    V sum(C(1) / C(factorial(terms)));
    simd::unroll<terms - 1>([&](auto i) __attribute__((always_inline)) {
      sum = simd::fma(g, sum, V(C(1) / C(factorial(terms - 1 - i))));
    });
    less = g * sum;
  }

  /// 1 - e^g.
  SEQMIX_ALWAYS_INLINE V complement() const noexcept {
    const V zero(C(0));
    return xsimd::select(weak, zero - less, V(C(1)) - factor);
  }

  /// e^g h + b. What a factor of zero multiplies is over, whatever it is.
  SEQMIX_ALWAYS_INLINE V apply(V h, V b) const noexcept {
    const V zero(C(0));
    const V kept = xsimd::select(factor == zero, zero, h);
    const auto apart = weak && (xsimd::abs(kept) < V(std::numeric_limits<C>::infinity()));
    return simd::fma(xsimd::select(apart, less, factor), kept,
                     b + xsimd::select(apart, kept, zero));
  }
};

/// h = a h + b.
template <bool Log>
struct affine_of {
  template <class C, class Arch>
  struct step : plain_step<C, Arch> {
    using V = simd::vec<C, Arch>;
    static constexpr int inputs = 2;
    static constexpr int width = Log ? 2 : 4;

    SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[1], const V (&in)[2],
                                           const V*, V (&out)[1]) noexcept {
      const V before = h[0];
      if constexpr (Log) {
        h[0] = log_decay<C, Arch>(in[0]).apply(before, in[1]);
      } else {
        const V zero(C(0));
        h[0] = simd::fma(in[0], xsimd::select(in[0] == zero, zero, before), in[1]);
      }
      out[0] = p.exclusive ? before : h[0];
    }
  };
};

/// The same in complex numbers; inputs are the two parts of a and of b.
template <class C, class Arch>
struct complex_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 4;
  static constexpr int outputs = 2;
  static constexpr int states = 2;
  static constexpr int width = 2;

  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[2], const V (&in)[4],
                                         const V*, V (&out)[2]) noexcept {
    const V zero(C(0));
    const auto over = (in[0] == zero) && (in[1] == zero);
    const V before[2] = {h[0], h[1]};
    const V re = xsimd::select(over, zero, before[0]);
    const V im = xsimd::select(over, zero, before[1]);
    h[0] = simd::fma(in[0], re, simd::fnma(in[1], im, in[2]));
    h[1] = simd::fma(in[0], im, simd::fma(in[1], re, in[3]));
    out[0] = p.exclusive ? before[0] : h[0];
    out[1] = p.exclusive ? before[1] : h[1];
  }
};

/// e^-|m - x|, 1 where both are the same infinity.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE simd::vec<C, Arch> smaller_weight(simd::vec<C, Arch> m,
                                                       simd::vec<C, Arch> x) noexcept {
  using V = simd::vec<C, Arch>;
  const V zero(C(0));
  return simd::exp<C, Arch>(xsimd::select(m == x, zero, zero - xsimd::abs(m - x)));
}

/// The larger of two numbers; NaN when either is.
template <class V>
SEQMIX_ALWAYS_INLINE V larger(V m, V x) noexcept {
  // Not x != x, which xsimd 8 finds false of NaN on AVX.
  return xsimd::select(x == x, xsimd::select(x > m, x, m), x);
}

/// A maximum m and the sum s of e^(x - m), which is at least 1 once a token was there.
template <class C, class Arch>
struct log_sum_exp_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 1;
  static constexpr int states = 2;
  static constexpr int width = 2;

  SEQMIX_ALWAYS_INLINE static void open(V (&h)[2], bool given) noexcept {
    h[0] = given ? h[0] : V(-std::numeric_limits<C>::infinity());
    h[1] = V(given ? C(1) : C(0));
  }
  SEQMIX_ALWAYS_INLINE static V value(const V (&h)[2]) noexcept { return h[0] + xsimd::log(h[1]); }
  SEQMIX_ALWAYS_INLINE static void close(V (&h)[2]) noexcept { h[0] = value(h); }
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[2], const V (&in)[1],
                                         const V*, V (&out)[1]) noexcept {
    const V one(C(1));
    const V before[2] = {h[0], h[1]};
    const V x = in[0];
    const V weight = smaller_weight<C, Arch>(before[0], x);
    const auto grows = x > before[0];
    h[1] =
        simd::fma(before[1], xsimd::select(grows, weight, one), xsimd::select(grows, one, weight));
    h[0] = larger(before[0], x);
    out[0] = p.exclusive ? value(before) : value(h);
  }
};

template <class C, class Arch>
struct max_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 1;

  SEQMIX_ALWAYS_INLINE static void open(V (&h)[1], bool given) noexcept {
    h[0] = given ? h[0] : V(-std::numeric_limits<C>::infinity());
  }
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[1], const V (&in)[1],
                                         const V*, V (&out)[1]) noexcept {
    const V before = h[0];
    h[0] = larger(before, in[0]);
    out[0] = p.exclusive ? before : h[0];
  }
};

/// A sum and what rounding has left of it, which joins the next token: long sums of one sign lose
/// nothing.
template <class C, class Arch>
struct sum_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 1;
  static constexpr int states = 2;

  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[2], const V (&in)[1],
                                         const V*, V (&out)[1]) noexcept {
    const V before = h[0];
    const V x = in[0] + h[1];
    const V sum = before + x;
    const V added = sum - before;
    const V error = (before - (sum - added)) + (x - added);
    // Sums that are infinite leave no number.
    h[1] = xsimd::select(error - error == V(C(0)), error, V(C(0)));
    h[0] = sum;
    out[0] = p.exclusive ? before : sum;
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
