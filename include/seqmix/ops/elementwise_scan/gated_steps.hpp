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
    using V = simd::vec<C, Arch>;
    static constexpr int inputs = 2;
    static constexpr int width = 2;

    SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[1], const V (&in)[2],
                                           const V*, V (&out)[1]) noexcept {
      if constexpr (Log) {
        const log_decay<C, Arch> decay(in[1]);
        h[0] = decay.apply(h[0], p.flag ? decay.complement() * in[0] : in[0]);
      } else {
        const V zero(C(0));
        const V kept = xsimd::select(in[1] == zero, zero, h[0]);
        const V x = p.flag ? simd::fnma(in[1], in[0], in[0]) : in[0];
        h[0] = simd::fma(in[1], kept, x);
      }
      out[0] = h[0];
    }
  };
};

/// h = a h + sqrt(1 - a^2) i x with log a = -rate r; inputs are x and what i and r are sigmoids of.
template <class C, class Arch>
struct rg_lru_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 3;
  static constexpr int parameters = 1;
  static constexpr int width = 2;

  static double parameter(const scan_problem& p, std::int64_t, double lambda) noexcept {
    return p.numbers[0] * (lambda > 40 ? lambda : std::log1p(std::exp(lambda)));
  }
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, V (&h)[1], const V (&in)[3],
                                         const V* row, V (&out)[1]) noexcept {
    const V rate = row[0] * simd::logistic<C, Arch>(in[2]);
    const log_decay<C, Arch> decay(V(C(0)) - rate);
    // 1 - a^2 = (1 - a) (1 + a), without the cancellation of squares near 1.
    const V share = xsimd::sqrt(decay.complement() * (V(C(1)) + decay.factor));
    h[0] = decay.apply(h[0], share * simd::logistic<C, Arch>(in[1]) * in[0]);
    out[0] = h[0];
  }
};

/// h = (1 - z) h + z x; inputs are what z is a sigmoid of, and candidates.
template <class C, class Arch>
struct min_gru_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 2;
  static constexpr int width = 2;

  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem& p, V (&h)[1], const V (&in)[2],
                                         const V*, V (&out)[1]) noexcept {
    const V z = simd::logistic<C, Arch>(in[0]);
    V x = in[1];
    if (p.flag) {
      const V positive = x + V(C(0.5));
      x = xsimd::select(x < V(C(0)), simd::logistic<C, Arch>(x), positive);
    }
    h[0] = simd::fma(z, x, simd::fnma(z, h[0], h[0]));
    out[0] = h[0];
  }
};

/// Sums of e^(x - m) v and e^(x - m) over tokens, against their largest exponent m.
template <class C, class Arch>
struct softmax_sums {
  using V = simd::vec<C, Arch>;
  V m;
  V weights;
  V values;

  /// A token joins. Of one with x = -infinity v may be anything.
  SEQMIX_ALWAYS_INLINE void join(V x, V v) noexcept {
    const V zero(C(0));
    const V one(C(1));
    const auto hidden = x == V(-std::numeric_limits<C>::infinity());
    const V weight = smaller_weight<C, Arch>(m, x);
    const auto grows = x > m;
    const V keep = xsimd::select(grows, weight, one);
    const V take = xsimd::select(hidden, zero, xsimd::select(grows, one, weight));
    weights = simd::fma(weights, keep, take);
    values = simd::fma(take, xsimd::select(hidden, zero, v), values * keep);
    m = larger(m, x);
  }
  /// The mean; 0 of no token.
  SEQMIX_ALWAYS_INLINE V mean() const noexcept {
    const V zero(C(0));
    return xsimd::select(weights == zero, zero, values / weights);
  }
};

/// Sums and their exponent are the state (values, weights, m); inputs are k and v, parameters w, u.
template <class C, class Arch>
struct rwkv4_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 2;
  static constexpr int states = 3;
  static constexpr int parameters = 2;
  static constexpr int width = 1;

  SEQMIX_ALWAYS_INLINE static void open(V (&h)[3], bool given) noexcept {
    h[2] = given ? h[2] : V(-std::numeric_limits<C>::infinity());
  }
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, V (&h)[3], const V (&in)[2],
                                         const V* row, V (&out)[1]) noexcept {
    softmax_sums<C, Arch> sums{h[2], h[1], h[0]};
    softmax_sums<C, Arch> seen = sums;
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
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 2;
  static constexpr int states = 3;
  static constexpr int width = 2;

  SEQMIX_ALWAYS_INLINE static void open(V (&h)[3], bool given) noexcept {
    h[0] = given ? h[0] : V(-std::numeric_limits<C>::infinity());
  }
  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, V (&h)[3], const V (&in)[2], const V*,
                                         V (&out)[1]) noexcept {
    softmax_sums<C, Arch> sums{h[0], h[1], h[2]};
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
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 1;
  static constexpr int parameters = 1;

  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, V (&h)[1], const V (&in)[1],
                                         const V* row, V (&out)[1]) noexcept {
    out[0] = simd::fma(row[0], h[0] - in[0], in[0]);
    h[0] = in[0];
  }
};

/// A sum of four tensors; there is no state.
template <class C, class Arch>
struct sum_of_four_step : plain_step<C, Arch> {
  using V = simd::vec<C, Arch>;
  static constexpr int inputs = 4;

  SEQMIX_ALWAYS_INLINE static void apply(const scan_problem&, V (&)[1], const V (&in)[4], const V*,
                                         V (&out)[1]) noexcept {
    out[0] = (in[0] + in[1]) + (in[2] + in[3]);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
