// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/selective_scan/decay.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// One register of channels through a block of tokens. Each lane is a channel: what a lane holds
/// reaches no other.
template <class C>
struct scan_kernel_arguments {
  std::int64_t N;
  std::int64_t tokens;
  std::int64_t step;  // between the rows of dt, w and y
  const C* dt;        // [tokens][step]
  const C* w;         // [tokens][step]: dt u
  C* y;               // [tokens][step]: D u, and then the output
  const C* rate;  // [N][lanes]: A log2 e; complex ones [N][3][lanes], with half turns in two parts
  const C* b;     // [tokens][N parts], or that of each lane
  const C* c;     // likewise
  std::int64_t b_step;  // between tokens
  std::int64_t c_step;
  C* h;  // [N parts][lanes]
};

template <class C, class Arch, bool Complex>
struct scan_kernel {
  using V = simd::vec<C, Arch>;
  static constexpr int lanes = simd::lanes<C, Arch>;
  /// States at a time, each with a sum of its own: as many as the registers have room for.
  static constexpr int ways = simd::register_count<Arch> >= 32 ? 4 : 2;

  template <bool Shared>
  static SEQMIX_ALWAYS_INLINE V number(const C* row, std::int64_t i) noexcept {
    return Shared ? V(row[i]) : V::load_aligned(row + i * lanes);
  }

  /// h = g (2^k h) + (2^k h + w b).
  template <decay_range Range>
  static SEQMIX_ALWAYS_INLINE V advance(const decay_pair<V>& d, V h, V w, V b) noexcept {
    if constexpr (Range == decay_range::near) {
      return simd::fma(d.growth, h, simd::fma(w, b, h));
    } else {
      const V scaled = d.scale * h;
      return simd::fma(d.growth, scaled, simd::fma(w, b, scaled));
    }
  }

  /// `Shared`: all lanes have the same B and C. `Equal`: A is the same for all n.
  template <decay_range Range, bool Shared, bool Equal>
  static void run(const scan_kernel_arguments<C>& a) noexcept {
    // In registers: the compiler must take a store of states for one to `a`.
    const std::int64_t N = a.N;
    const C* const rates = a.rate;
    C* const states = a.h;
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const V dt = V::load_aligned(a.dt + t * a.step);
      const V w = V::load_aligned(a.w + t * a.step);
      const C* b = a.b + t * a.b_step;
      const C* c = a.c + t * a.c_step;
      V sum[ways];
      simd::unroll<ways>([&](auto i) __attribute__((always_inline)) { sum[i] = V(C(0)); });
      [[maybe_unused]] decay_pair<V> equal;
      if constexpr (Equal) {
        equal = decay<Range, C, Arch>(dt, V::load_aligned(rates));
      }
      const auto one = [&](std::int64_t n, auto i) __attribute__((always_inline)) {
        C* state = states + n * lanes;
        decay_pair<V> d;
        if constexpr (Equal) {
          d = equal;
        } else {
          d = decay<Range, C, Arch>(dt, V::load_aligned(rates + n * lanes));
        }
        const V h = advance<Range>(d, V::load_aligned(state), w, number<Shared>(b, n));
        h.store_aligned(state);
        sum[i] = simd::fma(number<Shared>(c, n), h, sum[i]);
      };
      std::int64_t n = 0;
      for (; n + ways <= N; n += ways) {
        simd::unroll<ways>([&](auto i) __attribute__((always_inline)) { one(n + i, i); });
      }
      simd::unroll<ways - 1>([&](auto i) __attribute__((always_inline)) {
        if (n + i < N) {
          one(n + i, i);
        }
      });
      V y = sum[0] + sum[1];
      if constexpr (ways == 4) {
        y = y + (sum[2] + sum[3]);
      }
      (V::load_aligned(a.y + t * a.step) + y).store_aligned(a.y + t * a.step);
    }
  }

  /// The same with complex numbers: e^(dt A) - 1 is (1 + g) (turn - 1) + g.
  template <bool Shared>
  static void run_complex(const scan_kernel_arguments<C>& a) noexcept {
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const V dt = V::load_aligned(a.dt + t * a.step);
      const V w = V::load_aligned(a.w + t * a.step);
      const C* b = a.b + t * a.b_step;
      const C* c = a.c + t * a.c_step;
      V sum(C(0));
      for (std::int64_t n = 0; n < a.N; ++n) {
        const C* rate = a.rate + n * 3 * lanes;
        const auto d = decay<decay_range::any, C, Arch>(dt, V::load_aligned(rate));
        V re;
        V im;
        turn<C, Arch>(dt, V::load_aligned(rate + lanes), V::load_aligned(rate + 2 * lanes), re, im);
        re = simd::fma(d.growth, re, re) + d.growth;
        im = simd::fma(d.growth, im, im);
        C* state = a.h + n * 2 * lanes;
        const V h_re = d.scale * V::load_aligned(state);
        const V h_im = d.scale * V::load_aligned(state + lanes);
        const V to_re =
            simd::fnma(im, h_im, simd::fma(re, h_re, simd::fma(w, number<Shared>(b, 2 * n), h_re)));
        const V to_im = simd::fma(
            im, h_re, simd::fma(re, h_im, simd::fma(w, number<Shared>(b, 2 * n + 1), h_im)));
        to_re.store_aligned(state);
        to_im.store_aligned(state + lanes);
        sum = simd::fma(number<Shared>(c, 2 * n), to_re, sum);
        sum = simd::fnma(number<Shared>(c, 2 * n + 1), to_im, sum);
      }
      V y = V::load_aligned(a.y + t * a.step);
      simd::fma(V(C(2)), sum, y).store_aligned(a.y + t * a.step);
    }
  }

  template <bool Shared>
  static void run(const scan_kernel_arguments<C>& a, decay_range range, bool equal) noexcept {
    if constexpr (Complex) {
      run_complex<Shared>(a);
    } else if (equal) {
      run<decay_range::any, Shared, true>(a);
    } else if (range == decay_range::near) {
      run<decay_range::near, Shared, false>(a);
    } else if (range == decay_range::normal) {
      run<decay_range::normal, Shared, false>(a);
    } else {
      run<decay_range::any, Shared, false>(a);
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
