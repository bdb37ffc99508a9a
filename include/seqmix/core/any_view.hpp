// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/view_of.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A tensor as plain data: what crosses the boundary to a compiled back-end.
template <class Pointer, std::size_t Rank>
struct erased_view {
  Pointer data = nullptr;
  scalar_type type = scalar_type::none;
  std::array<std::int64_t, Rank> extents{};
  std::array<std::int64_t, Rank> strides{};
  device memory{};

  constexpr erased_view() = default;
  template <class T>
  explicit constexpr erased_view(const tensor_view<T, Rank>& v) noexcept
      : data(v.data_handle()),
        type(scalar_type_of<T>),
        extents(v.extents().values),
        strides(v.strides().values),
        memory(v.memory()) {}

  static constexpr std::size_t rank() noexcept { return Rank; }
  constexpr std::int64_t extent(std::size_t axis) const noexcept { return extents[axis]; }
  constexpr std::int64_t stride(std::size_t axis) const noexcept { return strides[axis]; }
  constexpr std::int64_t size() const noexcept {
    std::int64_t n = 1;
    for (const std::int64_t e : extents) {
      n *= e;
    }
    return n;
  }
  /// Whether the tensor was given at all: a null pointer with a non-zero size counts as given, and
  /// is an error.
  constexpr bool given() const noexcept { return data != nullptr || size() != 0; }
};

/// Entry `i` of an int32 or int64 vector.
template <class Pointer>
SEQMIX_ALWAYS_INLINE std::int64_t index_at(const erased_view<Pointer, 1>& v,
                                           std::int64_t i) noexcept {
  const std::int64_t at = i * v.strides[0];
  return v.type == scalar_type::i32 ? static_cast<const std::int32_t*>(v.data)[at]
                                    : static_cast<const std::int64_t*>(v.data)[at];
}

/// Entry [i, j] of an int32 or int64 matrix.
template <class Pointer>
SEQMIX_ALWAYS_INLINE std::int64_t index_at(const erased_view<Pointer, 2>& v, std::int64_t i,
                                           std::int64_t j) noexcept {
  const std::int64_t at = i * v.strides[0] + j * v.strides[1];
  return v.type == scalar_type::i32 ? static_cast<const std::int32_t*>(v.data)[at]
                                    : static_cast<const std::int64_t*>(v.data)[at];
}

}  // namespace detail

/// A read-only tensor with its element type erased: an optional input among an operator's options.
template <std::size_t Rank>
struct any_view : detail::erased_view<const void*, Rank> {
  using base = detail::erased_view<const void*, Rank>;
  constexpr any_view() = default;

  template <view_of<Rank> X>
  constexpr any_view(const X& x) noexcept : base(as_tensor_view(x)) {}
};

/// A writable tensor with its element type erased. A view of const elements does not convert.
template <std::size_t Rank>
struct any_out : detail::erased_view<void*, Rank> {
  using base = detail::erased_view<void*, Rank>;
  constexpr any_out() = default;

  template <mutable_view_of<Rank> X>
  constexpr any_out(const X& x) noexcept : base(as_tensor_view(x)) {}
};

SEQMIX_END_NAMESPACE
