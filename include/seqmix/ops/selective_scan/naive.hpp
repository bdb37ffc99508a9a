// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/selective_scan/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// An element of a tensor of real numbers; the last index may be left out where its extent is 1.
template <class Tag, class View, class... I>
double naive_scan_at(const View& v, I... indices) {
  std::int64_t at = 0;
  std::size_t axis = 0;
  ((at += indices * v.strides[axis++]), ...);
  double value = 0;
  with_real_elements(static_cast<const void*>(v.data), v.type,
                     [&](const auto* data) { value = widen<double>(data[at]); });
  return value;
}

template <class Tag>
double naive_softplus(double x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

template <class Tag>
struct naive_complex {
  double re = 0;
  double im = 0;
  naive_complex times(const naive_complex& x) const {
    return {re * x.re - im * x.im, re * x.im + im * x.re};
  }
};

/// The state of channel d at an entry; only real parts where there is no other.
template <class Tag, class View>
naive_complex<Tag> naive_scan_number(const View& v, const std::array<std::int64_t, 4>& i) {
  const bool pair = v.extents[v.rank() - 1] == 2;
  if constexpr (View::rank() == 5) {
    return {naive_scan_at<Tag>(v, i[0], i[1], i[2], i[3]),
            pair ? naive_scan_at<Tag>(v, i[0], i[1], i[2], i[3], std::int64_t{1}) : 0};
  } else if constexpr (View::rank() == 4) {
    return {naive_scan_at<Tag>(v, i[0], i[1], i[2]),
            pair ? naive_scan_at<Tag>(v, i[0], i[1], i[2], std::int64_t{1}) : 0};
  } else {
    return {naive_scan_at<Tag>(v, i[0], i[1]),
            pair ? naive_scan_at<Tag>(v, i[0], i[1], std::int64_t{1}) : 0};
  }
}

/// One channel of one sequence through its tokens, in double:
///
///     dt = softplus(delta + bias);  h = e^(dt A) h + dt B u;  y = (C . h + D u) z / (1 + e^-z)
///
/// with C . h = sum over n of C_n h_n, and twice the real part of that when A is complex.
template <class Tag>
void naive_scan_channel(const selective_scan_problem& p, const sequence_place& s, std::int64_t d) {
  using number = naive_complex<Tag>;
  const std::int64_t N = p.state_size();
  const bool is_complex = p.parts() == 2;
  const auto row_of = [&](const any_view<5>& x) {
    return x.extents[2] == 0 ? 0 : d / (p.channels() / x.extents[2]);
  };
  std::array<number, 256> h{};
  for (std::int64_t n = 0; n < N && p.initial_state.given(); ++n) {
    h[static_cast<std::size_t>(n)] = naive_scan_number<Tag>(p.initial_state, {s.initial, d, n, 0});
  }
  for (std::int64_t t = 0; t < s.tokens; ++t) {
    const std::int64_t at = s.place(t);
    const double u = naive_scan_at<Tag>(p.u, s.batch, at, d);
    double dt = naive_scan_at<Tag>(p.delta, s.batch, at, d);
    dt += p.bias.given() ? naive_scan_at<Tag>(p.bias, d) : 0;
    dt = p.softplus ? naive_softplus<Tag>(dt) : dt;
    double y = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      number& state = h[static_cast<std::size_t>(n)];
      const number a = naive_scan_number<Tag>(p.A, {d, n, 0, 0});
      const number b = naive_scan_number<Tag>(p.B, {s.batch, at, row_of(p.B), n});
      const number c = naive_scan_number<Tag>(p.C, {s.batch, at, row_of(p.C), n});
      const double length = std::exp(dt * a.re);
      if (is_complex) {
        const number decay{length * std::cos(dt * a.im), length * std::sin(dt * a.im)};
        const number kept = decay.times(state);
        state = {kept.re + dt * b.re * u, kept.im + dt * b.im * u};
        y += 2 * c.times(state).re;
      } else {
        state.re = length * state.re + dt * b.re * u;
        y += c.re * state.re;
      }
    }
    y += p.D.given() ? naive_scan_at<Tag>(p.D, d) * u : 0;
    y += p.accumulate ? naive_scan_at<Tag>(p.y, s.batch, at, d) : 0;
    if (p.z.given()) {
      const double z = naive_scan_at<Tag>(p.z, s.batch, at, d);
      y *= z / (1 + std::exp(-z));
    }
    with_real_elements(p.y.data, p.y.type, [&]<class T>(T* data) {
      data[s.batch * p.y.strides[0] + at * p.y.strides[1] + d * p.y.strides[2]] = narrow<T>(y);
    });
  }
  if (p.final_state.given()) {
    const auto& x = p.final_state;
    with_real_elements(x.data, x.type, [&]<class T>(T* data) {
      for (std::int64_t n = 0; n < N; ++n) {
        T* to = data + s.final * x.strides[0] + d * x.strides[1] + n * x.strides[2];
        to[0] = narrow<T>(h[static_cast<std::size_t>(n)].re);
        if (is_complex) {
          to[x.strides[3]] = narrow<T>(h[static_cast<std::size_t>(n)].im);
        }
      }
    });
  }
}

template <class Tag>
void naive_selective_scan(const selective_scan_problem& p) {
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const sequence_place s = sequence_at(p, n);
    for (std::int64_t d = 0; d < p.channels() && !s.skipped(); ++d) {
      naive_scan_channel<Tag>(p, s, d);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
