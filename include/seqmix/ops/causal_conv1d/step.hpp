// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/causal_conv1d/lines.hpp>
#include <seqmix/ops/causal_conv1d/states.hpp>

// One token of a sequence whose states lie densely: from state and token to output and state in
// registers. The sums are those of lines.hpp, in the same order.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The pointers are at the first channel; tokens are stored as T, states as S.
template <class C, class T, class S>
struct conv_step {
  const T* x;
  const S* initial;  // [channels][taps - 1]
  S* final;          // likewise, perhaps the same
  const C* weight;   // [taps][weight_step]
  std::int64_t weight_step;
  const C* bias;
  T* y;
};

/// Asks for memory that follows soon, or that no one owns: nothing is read.
SEQMIX_ALWAYS_INLINE void ask_ahead(const void* p) noexcept {
  constexpr std::uintptr_t distance = 4096;
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + distance));
}

/// For `n` channels, whole registers of them.
template <int Length, class C, class Arch, class T, class S>
void convolve_step(const conv_form& f, const conv_step<C, T, S>& r, std::int64_t n) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  for (std::int64_t d = 0; d < n; d += w) {
    V state[Length];
    V row[Length + 1];
    simd::unroll<Length>([&](auto i) __attribute__((always_inline)) {
      const S* from = r.initial + d * Length + i * w;
      ask_ahead(from);
      state[i] = simd::load<C, Arch>(from);
    });
    ask_ahead(r.x + d);
    V old[Length];
    simd::split<Length, C, Arch>(state, old);
    simd::unroll<Length>([&](auto i) __attribute__((always_inline)) { row[i] = old[i]; });
    row[Length] = simd::load<C, Arch>(r.x + d);
    V sum = V::load_unaligned(r.bias + d);
    simd::unroll<Length + 1>([&](auto i) __attribute__((always_inline)) {
      sum = simd::fma(V::load_unaligned(r.weight + i * r.weight_step + d), row[i], sum);
    });
    if (f.activation == conv_activation::silu) {
      sum = simd::silu<C, Arch>(sum);
    }
    if (f.residual) {
      sum = sum + row[Length];
    }
    simd::store<C, Arch>(sum, r.y + d);
    simd::unroll<Length>([&](auto i) __attribute__((always_inline)) { old[i] = row[i + 1]; });
    simd::merge<Length, C, Arch>(old, state);
    simd::unroll<Length>([&](auto i) __attribute__((always_inline)) {
      simd::store<C, Arch>(state[i], r.final + d * Length + i * w);
    });
  }
}

/// Whether `convolve_step` takes a sequence.
template <class C>
SEQMIX_ALWAYS_INLINE bool is_conv_step(const conv1d_problem& p, const conv1d_sequence& s) noexcept {
  const std::int64_t length = p.taps() - 1;
  const auto dense = [&](const auto& x) {
    return x.given() && x.extents[2] == length && x.strides[2] == 1 && x.strides[1] == length &&
           x.type == p.final_state.type;
  };
  return s.tokens == 1 && length >= 1 && length <= most_in_a_group && !p.state_positions.given() &&
         dense(p.initial_state) && dense(p.final_state) &&
         (p.final_state.type == scalar_type_of<C> || p.final_state.type == p.x.type) &&
         p.x.type == p.y.type && p.x.strides[2] == 1 && p.y.strides[2] == 1;
}

/// The only token of a sequence that `is_conv_step`, for whole registers of channels from `first`
/// on; x and y lie at these offsets.
template <class C, class Arch>
void convolve_single(const conv1d_problem& p, const conv1d_sequence& s, const conv_form& f,
                     const C* weight, std::int64_t weight_step, const C* bias, std::int64_t x_at,
                     std::int64_t y_at, std::int64_t first, std::int64_t n) noexcept {
  with_real_elements(p.y.data, p.y.type, [&]<class T>(T* y) {
    const auto run = [&]<class S>(S* states) {
      const conv_step<C, T, S> r{
          static_cast<const T*>(p.x.data) + x_at,
          static_cast<const S*>(p.initial_state.data) + s.initial * p.initial_state.strides[0] +
              first * p.initial_state.strides[1],
          states + s.final * p.final_state.strides[0] + first * p.final_state.strides[1],
          weight + first,
          weight_step,
          bias + first,
          y + y_at};
      if (f.taps == 2) {
        convolve_step<1, C, Arch>(f, r, n);
      } else {
        with_group_length(f.taps - 1, [&](auto L) { convolve_step<L, C, Arch>(f, r, n); });
      }
    };
    // Double tensors have double sums, and only they where both are of one type.
    if constexpr (std::is_same_v<T, double> == std::is_same_v<C, double>) {
      if (p.final_state.type == scalar_type_of<C>) {
        run(static_cast<C*>(p.final_state.data));
      } else {
        run(static_cast<T*>(p.final_state.data));
      }
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
