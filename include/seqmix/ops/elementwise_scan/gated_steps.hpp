// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/ops/elementwise_scan/forms.hpp>

// Steps of the named scans.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// h = e^g h + (1 - e^g) x, or with x alone; inputs are x and g.
template <bool Log>
struct hgrn_of {
  template <class C, class Arch>
  struct step : plain_step<C, Arch> {
    static constexpr scan_form form = Log ? scan_form::hgrn_log : scan_form::hgrn;
    static constexpr int inputs = 2;
    static constexpr int width = 2;

    template <class W>
    SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[1], const W (&in)[2],
                                           const W*, W (&out)[1]) noexcept {
      if constexpr (Log) {
        const log_decay<W> decay(in[1]);
        const W half = simd::all<W>(0.5);
        h[0] = decay.apply(h[0], (p.flag ? decay.half_complement() : half) * in[0]);
      } else {
        const W zero = simd::all<W>(0);
        const W kept = select(in[1] == zero, zero, h[0]);
        const W x = p.flag ? simd::fnma(in[1], in[0], in[0]) : in[0];
        h[0] = simd::fma(in[1], kept, x);
      }
      out[0] = h[0];
    }
  };
};

/// h = a h + sqrt(1 - a^2) i x with log a = -rate r; inputs are x and what i and r are sigmoids of.
template <class C, class Arch>
struct rg_lru_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::rg_lru;
  static constexpr int inputs = 3;
  static constexpr int parameters = 1;
  static constexpr int width = 2;

  static double parameter(const scan_problem& p, std::int64_t, double lambda) noexcept {
    return p.numbers[0] * (lambda > 40 ? lambda : std::log1p(std::exp(lambda)));
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, W (&h)[1], const W (&in)[3],
                                         const W* row, W (&out)[1]) noexcept {
    const W rate = row[0] * logistic(in[2]);
    const log_decay<W> decay(simd::all<W>(0) - rate);
    // 1 - a^2 = (1 - a) (1 + a), without the cancellation of squares near 1.
    const W half_share = sqrt(decay.half_complement() * (simd::all<W>(0.5) + decay.half_factor()));
    h[0] = decay.apply(h[0], half_share * logistic(in[1]) * in[0]);
    out[0] = h[0];
  }
};

/// h = (1 - z) h + z x; inputs are what z is a sigmoid of, and candidates.
template <class C, class Arch>
struct min_gru_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::min_gru;
  static constexpr int inputs = 2;
  static constexpr int width = 2;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, W (&h)[1], const W (&in)[2],
                                         const W*, W (&out)[1]) noexcept {
    const W z = logistic(in[0]);
    W x = in[1];
    if (p.flag) {
      const W positive = x + simd::all<W>(0.5);
      x = select(x < simd::all<W>(0), logistic(x), positive);
    }
    h[0] = simd::fma(z, x, simd::fnma(z, h[0], h[0]));
    out[0] = h[0];
  }
};

/// Sums of e^(x - m) v and e^(x - m) over tokens, against their largest exponent m.
template <class W>
struct softmax_sums {
  using C = simd::element<W>;
  W m;
  W weights;
  W values;

  /// A token joins. Of one with x = -infinity v may be anything.
  SEQMIX_ALWAYS_INLINE void join(W x, W v) noexcept {
    const W zero = simd::all<W>(0);
    const W one = simd::all<W>(1);
    const auto hidden = x == simd::all<W>(-std::numeric_limits<C>::infinity());
    const W weight = smaller_weight(m, x);
    const auto grows = x > m;
    const W keep = select(grows, weight, one);
    const W take = select(hidden, zero, select(grows, one, weight));
    weights = simd::fma(weights, keep, take);
    values = simd::fma(take, select(hidden, zero, v), values * keep);
    m = larger(m, x);
  }
  /// The mean; 0 of no token.
  SEQMIX_ALWAYS_INLINE W mean() const noexcept {
    const W zero = simd::all<W>(0);
    return select(weights == zero, zero, values / weights);
  }
};

/// Sums and their exponent are the state (values, weights, m); inputs are k and v, parameters w, u.
template <class C, class Arch>
struct rwkv4_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::rwkv4;
  static constexpr int inputs = 2;
  static constexpr int states = 3;
  static constexpr int parameters = 2;
  static constexpr int width = 2;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void open(W (&h)[3], bool given) noexcept {
    h[2] = given ? h[2] : simd::all<W>(-std::numeric_limits<C>::infinity());
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, W (&h)[3], const W (&in)[2],
                                         const W* row, W (&out)[1]) noexcept {
    softmax_sums<W> sums{h[2], h[1], h[0]};
    softmax_sums<W> seen = sums;
    seen.join(row[1] + in[0], in[1]);
    out[0] = seen.mean();
    sums.m = sums.m + row[0];
    sums.join(in[0], in[1]);
    h[0] = sums.values;
    h[1] = sums.weights;
    h[2] = sums.m;
  }
};

/// The state is (m, weights, values); inputs are scores and values.
template <class C, class Arch>
struct prefix_softmax_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::prefix_softmax;
  static constexpr int inputs = 2;
  static constexpr int states = 3;
  static constexpr int width = 2;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void open(W (&h)[3], bool given) noexcept {
    h[0] = given ? h[0] : simd::all<W>(-std::numeric_limits<C>::infinity());
  }
  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, W (&h)[3], const W (&in)[2], const W*,
                                         W (&out)[1]) noexcept {
    softmax_sums<W> sums{h[0], h[1], h[2]};
    sums.join(in[0], in[1]);
    out[0] = sums.mean();
    h[0] = sums.m;
    h[1] = sums.weights;
    h[2] = sums.values;
  }
};

/// x_(t-1) is the state; inputs are x, parameters its share.
template <class C, class Arch>
struct token_shift_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::token_shift;
  static constexpr int inputs = 1;
  static constexpr int parameters = 1;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, W (&h)[1], const W (&in)[1],
                                         const W* row, W (&out)[1]) noexcept {
    out[0] = simd::fma(row[0], h[0] - in[0], in[0]);
    h[0] = in[0];
  }
};

/// A sum of four tensors; there is no state.
template <class C, class Arch>
struct sum_of_four_step : plain_step<C, Arch> {
  static constexpr scan_form form = scan_form::sum_of_four;
  static constexpr int inputs = 4;

  template <class W>
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, W (&)[1], const W (&in)[4], const W*,
                                         W (&out)[1]) noexcept {
    out[0] = (in[0] + in[1]) + (in[2] + in[3]);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
