// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/simd/fma.hpp>
#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace simd {

/// N registers that go through a computation side by side, operation by operation: a core's
/// scheduler holds about one long chain of dependent operations, so that chains written one behind
/// the other hardly overlap.
template <class V, int N>
struct pack {
  V part[N];

  pack() = default;
  /// Register by register: g++ 12 copies whole arrays through memory, in words.
  SEQMIX_ALWAYS_INLINE pack(const pack& x) noexcept { *this = x; }
  SEQMIX_ALWAYS_INLINE pack& operator=(const pack& x) noexcept {
    unroll<N>([&](auto i) __attribute__((always_inline)) { part[i] = x.part[i]; });
    return *this;
  }

  SEQMIX_ALWAYS_INLINE const V& operator[](int i) const noexcept { return part[i]; }
};

/// What a register, or a pack of them, holds.
template <class W>
struct element_of;

template <class C, class A>
struct element_of<xsimd::batch<C, A>> {
  using type = C;
};

template <class V, int N>
struct element_of<pack<V, N>> {
  using type = typename element_of<V>::type;
};

template <class W>
using element = typename element_of<W>::type;

namespace detail {

template <int N, class F>
SEQMIX_ALWAYS_INLINE auto pack_of(F&& f) noexcept {
  pack<std::remove_cvref_t<decltype(f(std::integral_constant<int, 0>{}))>, N> y;
  unroll<N>([&](auto i) __attribute__((always_inline)) { y.part[i] = f(i); });
  return y;
}

template <class W>
struct broadcaster {
  static SEQMIX_ALWAYS_INLINE W of(element<W> c) noexcept { return W(c); }
};

template <class V, int N>
struct broadcaster<pack<V, N>> {
  static SEQMIX_ALWAYS_INLINE pack<V, N> of(element<V> c) noexcept {
    return pack_of<N>([&](auto) __attribute__((always_inline)) { return V(c); });
  }
};

}  // namespace detail

/// Every element `c`.
template <class W, class T>
SEQMIX_ALWAYS_INLINE W all(T c) noexcept {
  return detail::broadcaster<W>::of(static_cast<element<W>>(c));
}

/// The same bits as elements of another type. Not std::bit_cast, which g++ 12 takes through memory
/// by halves now and then.
template <class T, class C, class A>
SEQMIX_ALWAYS_INLINE xsimd::batch<T, A> bits_as(const xsimd::batch<C, A>& x) noexcept {
  using from = typename xsimd::batch<C, A>::register_type;
  using to = typename xsimd::batch<T, A>::register_type;
  return xsimd::batch<T, A>((to) static_cast<from>(x));
}

/// f of each register.
template <class C, class A, class F>
SEQMIX_ALWAYS_INLINE auto each(const xsimd::batch<C, A>& x, F&& f) noexcept {
  return f(x);
}
template <class V, int N, class F>
SEQMIX_ALWAYS_INLINE auto each(const pack<V, N>& x, F&& f) noexcept {
  return detail::pack_of<N>([&](auto i) __attribute__((always_inline)) { return f(x[i]); });
}

#define SEQMIX_PACK_BINARY(name, expression)                                          \
  template <class V, int N>                                                           \
  SEQMIX_ALWAYS_INLINE auto name(const pack<V, N>& x, const pack<V, N>& y) noexcept { \
    return detail::pack_of<N>([&](auto i) __attribute__((always_inline)) {            \
      const V& a = x[i];                                                              \
      const V& b = y[i];                                                              \
      return expression;                                                              \
    });                                                                               \
  }
SEQMIX_PACK_BINARY(operator+, a + b)
SEQMIX_PACK_BINARY(operator-, a - b)
SEQMIX_PACK_BINARY(operator*, a* b)
SEQMIX_PACK_BINARY(operator/, a / b)
SEQMIX_PACK_BINARY(operator<, a < b)
SEQMIX_PACK_BINARY(operator>, a > b)
SEQMIX_PACK_BINARY(operator==, a == b)
SEQMIX_PACK_BINARY(operator&&, a&& b)
SEQMIX_PACK_BINARY(min, xsimd::min(a, b))
SEQMIX_PACK_BINARY(max, xsimd::max(a, b))
#undef SEQMIX_PACK_BINARY

template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> abs(const pack<V, N>& x) noexcept {
  return detail::pack_of<N>([&](auto i)
                                __attribute__((always_inline)) { return xsimd::abs(x[i]); });
}

template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> sqrt(const pack<V, N>& x) noexcept {
  return detail::pack_of<N>([&](auto i)
                                __attribute__((always_inline)) { return xsimd::sqrt(x[i]); });
}

template <class M, class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> select(const pack<M, N>& which, const pack<V, N>& x,
                                       const pack<V, N>& y) noexcept {
  return detail::pack_of<N>([&](auto i) __attribute__((always_inline)) {
    return V(xsimd::select(which[i], x[i], y[i]));
  });
}

template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> fma(const pack<V, N>& x, const pack<V, N>& y,
                                    const pack<V, N>& z) noexcept {
  return detail::pack_of<N>(
      [&](auto i) __attribute__((always_inline)) { return simd::fma(x[i], y[i], z[i]); });
}

template <class V, int N>
SEQMIX_ALWAYS_INLINE pack<V, N> fnma(const pack<V, N>& x, const pack<V, N>& y,
                                     const pack<V, N>& z) noexcept {
  return detail::pack_of<N>(
      [&](auto i) __attribute__((always_inline)) { return simd::fnma(x[i], y[i], z[i]); });
}

}  // namespace simd

SEQMIX_END_NAMESPACE
