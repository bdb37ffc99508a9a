// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <complex>
#include <seqmix/ops/elementwise_scan/engine.hpp>

// Forms with N numbers of state, modes, for each channel: all are driven by the channel's input and
// summed up in its output. Modes go outside, some tokens inside: a mode's state and parameters are
// loaded once for them.
//
//     form                         its name
//     numbers                      of a mode's state: 1, or 2 of complex ones
//     parameters                   numbers of a mode that the loop reads
//     parameter(p, d, n, out)      those of mode n of channel d, in double
//     apply(h, u, parameters, y)   one token: h becomes the next state, its share joins y

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Entry [d, n, part] of a scan's parameters.
template <class Tag>
double scan_parameter_at(const any_view<3>& x, std::int64_t d, std::int64_t n = 0,
                         std::int64_t part = 0) noexcept {
  double value = 0;
  with_real_elements(x.data, x.type, [&](const auto* data) {
    value = widen<double>(data[d * x.strides[0] + n * x.strides[1] + part * x.strides[2]]);
  });
  return value;
}

template <class Types, class Arch, template <class, class> class Mode>
struct mode_scan {
  using C = typename Types::compute;
  using stored = typename Types::stored;
  using V = simd::vec<C, Arch>;
  using mode = Mode<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::size_t inputs = 1;
  static constexpr std::size_t outputs = 1;
  static constexpr bool pairs = false;
  /// Tokens whose sums are in registers at a time.
  static constexpr int together = simd::register_count<Arch> >= 32 ? 8 : 4;

  static std::int64_t planes(const scan_problem& p) noexcept { return p.state_numbers; }
  static std::int64_t modes(const scan_problem& p) noexcept {
    return p.state_numbers / mode::numbers;
  }
  /// Those of the modes, and the input's own weight.
  static std::int64_t parameter_planes(const scan_problem& p) noexcept {
    return modes(p) * mode::parameters + 1;
  }
  static void load_parameters(const scan_problem& p, std::int64_t first, std::int64_t channels,
                              C* rows, std::int64_t row_step) noexcept {
    for (std::int64_t i = 0; i < parameter_planes(p) * row_step; ++i) {
      rows[i] = C(0);
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      double values[mode::parameters];
      for (std::int64_t n = 0; n < modes(p); ++n) {
        mode::parameter(p, first + c, n, values);
        for (std::int64_t i = 0; i < mode::parameters; ++i) {
          rows[(n * mode::parameters + i) * row_step + c] = static_cast<C>(values[i]);
        }
      }
      rows[modes(p) * mode::parameters * row_step + c] = static_cast<C>(mode::skip(p, first + c));
    }
  }
  static void open(const scan_problem&, bool, C*, std::int64_t) noexcept {}
  static void close(const scan_problem&, C*, std::int64_t) noexcept {}

  template <class T>
  static void run(const scan_problem& p, const scan_tile<C, T>& x) noexcept {
    for (std::int64_t c = 0; c < x.channels; c += w) {
      std::int64_t t = 0;
      for (; t + together <= x.tokens; t += together) {
        run_tokens<together>(p, x, t, c);
      }
      for (; t < x.tokens; ++t) {
        run_tokens<1>(p, x, t, c);
      }
    }
  }

 private:
  template <int Tokens, class T>
  SEQMIX_ALWAYS_INLINE static void run_tokens(const scan_problem& p, const scan_tile<C, T>& x,
                                              std::int64_t t, std::int64_t c) noexcept {
    const C* skip = x.parameters + modes(p) * mode::parameters * x.plane_step + c;
    V u[Tokens];
    V y[Tokens];
    simd::unroll<Tokens>([&](auto i) __attribute__((always_inline)) {
      u[i] = simd::load<C, Arch>(x.in[0] + (t + i) * x.in_step[0] + c);
      y[i] = V::load_aligned(skip) * u[i];
    });
    for (std::int64_t n = 0; n < modes(p); ++n) {
      const C* row = x.parameters + n * mode::parameters * x.plane_step + c;
      C* state = x.state + n * mode::numbers * x.plane_step + c;
      V parameters[mode::parameters];
      V h[mode::numbers];
      simd::unroll<mode::parameters>([&](auto i) __attribute__((always_inline)) {
        parameters[i] = V::load_aligned(row + i * x.plane_step);
      });
      simd::unroll<mode::numbers>([&](auto i) __attribute__((always_inline)) {
        h[i] = V::load_aligned(state + i * x.plane_step);
      });
      simd::unroll<Tokens>(
          [&](auto i) __attribute__((always_inline)) { mode::apply(h, u[i], parameters, y[i]); });
      simd::unroll<mode::numbers>([&](auto i) __attribute__((always_inline)) {
        h[i].store_aligned(state + i * x.plane_step);
      });
    }
    simd::unroll<Tokens>([&](auto i) __attribute__((always_inline)) {
      simd::store<C, Arch>(y[i], x.out[0] + (t + i) * x.out_step[0] + c);
    });
  }
};

/// h = r x + (1 - s) h, y += e h. The decay is applied as h - s h, which rounds once and does not
/// round 1 - s.
template <class C, class Arch>
struct damped_mode {
  static constexpr scan_form form = scan_form::damped_ema;
  using V = simd::vec<C, Arch>;
  static constexpr int numbers = 1;
  static constexpr int parameters = 3;

  static void parameter(const scan_problem& p, std::int64_t d, std::int64_t n,
                        double (&out)[3]) noexcept {
    const double alpha = scan_parameter_at<Arch>(p.parameters[0], d, n);
    out[0] = -alpha * scan_parameter_at<Arch>(p.parameters[1], d, n);
    out[1] = alpha * scan_parameter_at<Arch>(p.parameters[2], d, n);
    out[2] = scan_parameter_at<Arch>(p.parameters[3], d, n);
  }
  static double skip(const scan_problem&, std::int64_t) noexcept { return 0; }
  SEQMIX_ALWAYS_INLINE static void apply(V (&h)[1], V u, const V (&parameter)[3], V& y) noexcept {
    h[0] = simd::fma(parameter[1], u, simd::fma(parameter[0], h[0], h[0]));
    y = simd::fma(parameter[2], h[0], y);
  }
};

/// h = a h + b u in complex numbers, y += 2 Re(c h). The decay is applied as h + (a - 1) h.
template <class C, class Arch>
struct complex_mode {
  static constexpr scan_form form = scan_form::diagonal_ssm;
  using V = simd::vec<C, Arch>;
  static constexpr int numbers = 2;
  static constexpr int parameters = 6;

  static std::complex<double> entry(const scan_problem& p, std::size_t i, std::int64_t d,
                                    std::int64_t n) noexcept {
    return {scan_parameter_at<Arch>(p.parameters[i], d, n, 0),
            scan_parameter_at<Arch>(p.parameters[i], d, n, 1)};
  }
  static void parameter(const scan_problem& p, std::int64_t d, std::int64_t n,
                        double (&out)[6]) noexcept {
    const std::complex<double> a = entry(p, 0, d, n);
    std::complex<double> less = a - 1.0;
    std::complex<double> b = entry(p, 1, d, n);
    const std::complex<double> c = entry(p, 2, d, n);
    if (p.flag) {
      // e^z - 1 of z = x + iy without its cancellation, and b times (e^z - 1) / a, dt at a = 0.
      const double dt = scan_parameter_at<Arch>(p.parameters[4], d);
      const std::complex<double> z = a * dt;
      const double half = std::sin(z.imag() / 2);
      const double grown = std::expm1(z.real());
      less = {grown * std::cos(z.imag()) - 2 * half * half, (grown + 1) * std::sin(z.imag())};
      b *= a == 0.0 ? std::complex<double>(dt) : less / a;
    }
    out[0] = less.real();
    out[1] = less.imag();
    out[2] = b.real();
    out[3] = b.imag();
    out[4] = 2 * c.real();
    out[5] = -2 * c.imag();
  }
  static double skip(const scan_problem& p, std::int64_t d) noexcept {
    return p.parameter_names[3] == nullptr ? 0 : scan_parameter_at<Arch>(p.parameters[3], d);
  }
  SEQMIX_ALWAYS_INLINE static void apply(V (&h)[2], V u, const V (&parameter)[6], V& y) noexcept {
    const V re = simd::fnma(parameter[1], h[1], simd::fma(parameter[0], h[0], h[0]));
    const V im = simd::fma(parameter[1], h[0], simd::fma(parameter[0], h[1], h[1]));
    h[0] = simd::fma(parameter[2], u, re);
    h[1] = simd::fma(parameter[3], u, im);
    y = simd::fma(parameter[4], h[0], simd::fma(parameter[5], h[1], y));
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
