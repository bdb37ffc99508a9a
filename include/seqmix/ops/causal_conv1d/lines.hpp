// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/causal_conv1d/options.hpp>
#include <seqmix/simd/silu.hpp>
#include <seqmix/simd/stream.hpp>
#include <seqmix/simd/tile.hpp>

// The sums, on elements of the compute type that lie densely along one axis. Each output is one
// chain of fused multiply-adds from the bias on, in the order of the taps, whatever lies beside it:
// its bits depend on neither the layout nor the cut into tasks.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What every output of a call shares.
struct conv_form {
  std::int64_t taps;
  std::int64_t left;
  conv_activation activation;
  bool residual;
};

/// A row of channels for each token, stored as T; the pointers are at the first channel.
template <class C, class T>
struct conv_rows {
  const T* x;  // the first tap's row of the first output
  std::int64_t x_step;
  const C* weight;  // [taps][weight_step]
  std::int64_t weight_step;
  const C* bias;
  T* y;
  std::int64_t y_step;
  bool in_memory;    // x is no scratch: rows are asked for ahead of their use
  bool past_caches;  // y is aligned for that
};

/// Adds `Taps` taps from tap i on to the sums of `Tokens` neighbouring tokens. Each row is loaded
/// once for all of them.
template <int Tokens, int Taps, class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void add_taps(const conv_rows<C, T>& r, std::int64_t i, std::int64_t d,
                                   simd::vec<C, Arch> (&sum)[Tokens]) noexcept {
  using V = simd::vec<C, Arch>;
  V x[Tokens + Taps - 1];
  simd::unroll<Tokens + Taps - 1>([&](auto j) __attribute__((always_inline)) {
    x[j] = simd::load<C, Arch>(r.x + (i + j) * r.x_step + d);
  });
  simd::unroll<Taps>([&](auto k) __attribute__((always_inline)) {
    const V weight = V::load_unaligned(r.weight + (i + k) * r.weight_step + d);
    simd::unroll<Tokens>([&](auto j) __attribute__((always_inline)) {
      sum[j] = simd::fma(weight, x[j + k], sum[j]);
    });
  });
}

/// The outputs of `Tokens` tokens for `n` channels, at least a register of them: the last register
/// ends with the last channel and may compute some once more. `Taps` is their number, or 0.
/// `ask_ahead`: as many tokens follow.
template <int Tokens, int Taps, class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void conv_tokens(const conv_form& f, const conv_rows<C, T>& r, std::int64_t n,
                                      bool ask_ahead) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  for (std::int64_t next = 0; next < n; next += w) {
    const std::int64_t d = next + w <= n ? next : n - w;
    if (ask_ahead) {
      simd::unroll<Tokens>([&](auto j) __attribute__((always_inline)) {
        __builtin_prefetch(r.x + (f.taps - 1 + Tokens + j) * r.x_step + d);
      });
    }
    V sum[Tokens];
    simd::unroll<Tokens>(
        [&](auto j) __attribute__((always_inline)) { sum[j] = V::load_unaligned(r.bias + d); });
    if constexpr (Taps > 0) {
      add_taps<Tokens, Taps, C, Arch>(r, 0, d, sum);
    } else {
      std::int64_t i = 0;
      for (; i + 4 <= f.taps; i += 4) {
        add_taps<Tokens, 4, C, Arch>(r, i, d, sum);
      }
      for (; i < f.taps; ++i) {
        add_taps<Tokens, 1, C, Arch>(r, i, d, sum);
      }
    }
    if (f.activation == conv_activation::silu) {
      simd::unroll<Tokens>(
          [&](auto j) __attribute__((always_inline)) { sum[j] = simd::silu<C, Arch>(sum[j]); });
    }
    if (f.residual) {
      simd::unroll<Tokens>([&](auto j) __attribute__((always_inline)) {
        sum[j] = sum[j] + simd::load<C, Arch>(r.x + (f.left + j) * r.x_step + d);
      });
    }
    if constexpr (std::is_same_v<T, C>) {
      if (r.past_caches) {
        simd::unroll<Tokens>([&](auto j) __attribute__((always_inline)) {
          simd::stream<C, Arch>(sum[j], r.y + j * r.y_step + d);
        });
        continue;
      }
    }
    simd::unroll<Tokens>([&](auto j) __attribute__((always_inline)) {
      simd::store<C, Arch>(sum[j], r.y + j * r.y_step + d);
    });
  }
}

/// The same for any number of tokens.
template <int Taps, class C, class Arch, class T>
void convolve_rows_with(const conv_form& f, conv_rows<C, T> r, std::int64_t tokens,
                        std::int64_t n) noexcept {
  // Many taps are bound by the latency of their chains: more tokens have more of them.
  constexpr std::int64_t together = Taps == 0 ? 8 : 4;
  for (; tokens >= together; tokens -= together) {
    conv_tokens<together, Taps, C, Arch>(f, r, n, r.in_memory && tokens >= 2 * together);
    r.x += together * r.x_step;
    r.y += together * r.y_step;
  }
  for (; tokens > 0; --tokens) {
    conv_tokens<1, Taps, C, Arch>(f, r, n, false);
    r.x += r.x_step;
    r.y += r.y_step;
  }
}

template <class C, class Arch, class T>
SEQMIX_ALWAYS_INLINE void convolve_rows(const conv_form& f, const conv_rows<C, T>& r,
                                        std::int64_t tokens, std::int64_t n) noexcept {
  if (f.taps == 4) {
    convolve_rows_with<4, C, Arch>(f, r, tokens, n);
  } else {
    convolve_rows_with<0, C, Arch>(f, r, tokens, n);
  }
}

/// One channel whose tokens are neighbours: x at the first tap of the first output.
template <int Registers, class C, class Arch>
SEQMIX_ALWAYS_INLINE void conv_times(const conv_form& f, const C* x, const C* weight,
                                     std::int64_t weight_step, C bias, C* y) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  V sum[Registers];
  simd::unroll<Registers>([&](auto j) __attribute__((always_inline)) { sum[j] = V(bias); });
  for (std::int64_t i = 0; i < f.taps; ++i) {
    const V tap(weight[i * weight_step]);
    simd::unroll<Registers>([&](auto j) __attribute__((always_inline)) {
      sum[j] = simd::fma(tap, V::load_unaligned(x + i + j * w), sum[j]);
    });
  }
  if (f.activation == conv_activation::silu) {
    simd::unroll<Registers>(
        [&](auto j) __attribute__((always_inline)) { sum[j] = simd::silu<C, Arch>(sum[j]); });
  }
  if (f.residual) {
    simd::unroll<Registers>([&](auto j) __attribute__((always_inline)) {
      sum[j] = sum[j] + V::load_unaligned(x + f.left + j * w);
    });
  }
  simd::unroll<Registers>(
      [&](auto j) __attribute__((always_inline)) { sum[j].store_unaligned(y + j * w); });
}

/// The same for any number of tokens, at least a register of them.
template <class C, class Arch>
void convolve_times(const conv_form& f, const C* x, const C* weight, std::int64_t weight_step,
                    C bias, C* y, std::int64_t tokens) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  constexpr int together = 4;
  std::int64_t t = 0;
  for (; t + together * w <= tokens; t += together * w) {
    conv_times<together, C, Arch>(f, x + t, weight, weight_step, bias, y + t);
  }
  for (; t < tokens; t += w) {
    const std::int64_t at = t + w <= tokens ? t : tokens - w;
    conv_times<1, C, Arch>(f, x + at, weight, weight_step, bias, y + at);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
