// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/any_view.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// One stored element in a type that computes.
template <class C, class T>
SEQMIX_ALWAYS_INLINE C widen(T x) noexcept {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<C>(x);
  } else {
    return static_cast<C>(static_cast<float>(x));
  }
}

/// A computed value in the type that is stored.
template <class T, class C>
SEQMIX_ALWAYS_INLINE T narrow(C x) noexcept {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<T>(x);
  } else {
    return T(static_cast<float>(x));
  }
}

/// The type that scores, weights and sums are kept in: double when any tensor is double.
template <class... T>
using compute_type = std::conditional_t<(std::is_same_v<T, double> || ...), double, float>;

/// A type-erased tensor with its element type back.
template <class T, class Pointer, std::size_t Rank>
SEQMIX_ALWAYS_INLINE tensor_view<T, Rank> restore(const erased_view<Pointer, Rank>& v) noexcept {
  return {static_cast<T*>(v.data), index_list<Rank>(v.extents), index_list<Rank>(v.strides),
          v.memory};
}

/// Calls `f(pointer)` with a real vector's or tensor's elements by their type, those of an output
/// as ones to write.
template <class Pointer, class F>
SEQMIX_ALWAYS_INLINE void with_real_elements(Pointer data, scalar_type type, F&& f) noexcept {
  const auto as = [&]<class T>(T*) __attribute__((always_inline)) {
    using element = std::conditional_t<std::is_same_v<Pointer, const void*>, const T, T>;
    f(static_cast<element*>(data));
  };
  switch (type) {
    case scalar_type::f64:
      return as(static_cast<double*>(nullptr));
    case scalar_type::f16:
      return as(static_cast<f16*>(nullptr));
    case scalar_type::bf16:
      return as(static_cast<bf16*>(nullptr));
    default:
      return as(static_cast<float*>(nullptr));
  }
}

/// The same with elements that may be integers too.
template <class F>
SEQMIX_ALWAYS_INLINE void with_number_elements(const void* data, scalar_type type, F&& f) noexcept {
  switch (type) {
    case scalar_type::i32:
      return f(static_cast<const std::int32_t*>(data));
    case scalar_type::i64:
      return f(static_cast<const std::int64_t*>(data));
    default:
      return with_real_elements(data, type, f);
  }
}

/// The real number at an offset from a tensor's first element.
template <class C>
SEQMIX_ALWAYS_INLINE C real_element(const void* data, scalar_type type, std::int64_t at) noexcept {
  C value{};
  with_real_elements(data, type, [&](const auto* first) __attribute__((always_inline)) {
    value = widen<C>(first[at]);
  });
  return value;
}

/// The counterpart.
template <class C>
SEQMIX_ALWAYS_INLINE void set_real_element(void* data, scalar_type type, std::int64_t at,
                                           C value) noexcept {
  with_real_elements(data, type, [&]<class T>(T* first) __attribute__((always_inline)) {
    first[at] = narrow<T>(value);
  });
}

/// Entry `i` of a vector of real numbers.
template <class C>
SEQMIX_ALWAYS_INLINE C real_at(const any_view<1>& v, std::int64_t i) noexcept {
  C value{};
  with_real_elements(v.data, v.type, [&](const auto* data) __attribute__((always_inline)) {
    value = widen<C>(data[i * v.strides[0]]);
  });
  return value;
}

/// Entry [i, j] of a matrix of real numbers.
template <class C>
SEQMIX_ALWAYS_INLINE C real_at(const any_view<2>& v, std::int64_t i, std::int64_t j) noexcept {
  C value{};
  with_real_elements(v.data, v.type, [&](const auto* data) __attribute__((always_inline)) {
    value = widen<C>(data[i * v.strides[0] + j * v.strides[1]]);
  });
  return value;
}

/// Sets element (i, j, k) of a float or double log-sum-exp; nothing when it was not given.
SEQMIX_ALWAYS_INLINE void write_lse(const any_out<3>& lse, std::int64_t i, std::int64_t j,
                                    std::int64_t k, double value) noexcept {
  if (lse.data == nullptr) {
    return;
  }
  const std::int64_t at = i * lse.strides[0] + j * lse.strides[1] + k * lse.strides[2];
  if (lse.type == scalar_type::f64) {
    static_cast<double*>(lse.data)[at] = value;
  } else {
    static_cast<float*>(lse.data)[at] = static_cast<float>(value);
  }
}

/// The same for an int32 or int64 output.
SEQMIX_ALWAYS_INLINE void write_index(const any_out<3>& out, std::int64_t i, std::int64_t j,
                                      std::int64_t k, std::int64_t value) noexcept {
  const std::int64_t at = i * out.strides[0] + j * out.strides[1] + k * out.strides[2];
  if (out.type == scalar_type::i32) {
    static_cast<std::int32_t*>(out.data)[at] = static_cast<std::int32_t>(value);
  } else {
    static_cast<std::int64_t*>(out.data)[at] = value;
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
