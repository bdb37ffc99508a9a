// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/device.hpp>
#include <seqmix/core/scalar.hpp>
#include <type_traits>

SEQMIX_BEGIN_NAMESPACE

/// `Rank` extents or strides. Takes any integer types, std::size_t too, without narrowing errors.
template <std::size_t Rank>
struct index_list {
  std::array<std::int64_t, Rank> values{};

  constexpr index_list() = default;
  explicit constexpr index_list(const std::array<std::int64_t, Rank>& v) noexcept : values(v) {}
  template <std::integral... I>
    requires(sizeof...(I) == Rank)
  constexpr index_list(I... i) noexcept : values{static_cast<std::int64_t>(i)...} {}

  constexpr std::int64_t operator[](std::size_t axis) const noexcept { return values[axis]; }
};

/// A non-owning tensor: pointer, int64 extents, int64 strides in elements, and the memory's device.
///
/// It speaks mdspan's vocabulary (`extent`, `stride`, `data_handle`, `operator()`). Any stride is
/// legal, zero (broadcast) and negative ones too; a unit stride on the last axis is the quick path.
/// A default-constructed view means "not given".
template <class T, std::size_t Rank>
class tensor_view {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using index_type = std::int64_t;
  using data_handle_type = T*;

  constexpr tensor_view() = default;

  /// A dense row-major tensor.
  constexpr tensor_view(T* data, index_list<Rank> extents, device memory = {}) noexcept
      : data_(data), extents_(extents.values), memory_(memory) {
    std::int64_t step = 1;
    for (std::size_t axis = Rank; axis-- > 0;) {
      strides_[axis] = step;
      step *= extents_[axis];
    }
  }

  constexpr tensor_view(T* data, index_list<Rank> extents, index_list<Rank> strides,
                        device memory = {}) noexcept
      : data_(data), extents_(extents.values), strides_(strides.values), memory_(memory) {}

  /// From a view of mutable elements. A template, so that the implicit copy constructor of a
  /// mutable view stays.
  template <class U>
    requires(std::is_const_v<T> && std::same_as<U, std::remove_const_t<T>>)
  constexpr tensor_view(const tensor_view<U, Rank>& other) noexcept
      : tensor_view(other.data_handle(), other.extents(), other.strides(), other.memory()) {}

  static constexpr std::size_t rank() noexcept { return Rank; }
  constexpr T* data_handle() const noexcept { return data_; }
  constexpr std::int64_t extent(std::size_t axis) const noexcept { return extents_[axis]; }
  constexpr std::int64_t stride(std::size_t axis) const noexcept { return strides_[axis]; }
  constexpr index_list<Rank> extents() const noexcept { return index_list<Rank>(extents_); }
  constexpr index_list<Rank> strides() const noexcept { return index_list<Rank>(strides_); }
  constexpr device memory() const noexcept { return memory_; }

  /// The number of elements.
  constexpr std::int64_t size() const noexcept {
    std::int64_t n = 1;
    for (const std::int64_t e : extents_) {
      n *= e;
    }
    return n;
  }
  constexpr bool empty() const noexcept { return size() == 0; }

  template <std::integral... I>
    requires(sizeof...(I) == Rank)
  constexpr T& operator()(I... indices) const noexcept {
    std::int64_t offset = 0;
    std::size_t axis = 0;
    ((offset += static_cast<std::int64_t>(indices) * strides_[axis++]), ...);
    return data_[offset];
  }

  /// The same elements with the axes reordered: axis i of the result is axis `Axes[i]` of this.
  template <std::size_t... Axes>
    requires(sizeof...(Axes) == Rank && ((Axes < Rank) && ...))
  constexpr tensor_view permuted() const noexcept {
    return {data_, index_list<Rank>(extents_[Axes]...), index_list<Rank>(strides_[Axes]...),
            memory_};
  }

  /// `count` entries of one axis, from `begin` on.
  constexpr tensor_view slice(std::size_t axis, std::int64_t begin,
                              std::int64_t count) const noexcept {
    tensor_view part = *this;
    part.data_ += begin * strides_[axis];
    part.extents_[axis] = count;
    return part;
  }

 private:
  T* data_ = nullptr;
  std::array<std::int64_t, Rank> extents_{};
  std::array<std::int64_t, Rank> strides_{};
  device memory_{};
};

/// A dense row-major view of host memory: `view(p, B, T, H, D)`.
template <class T, std::integral... I>
constexpr tensor_view<T, sizeof...(I)> view(T* data, I... extents) noexcept {
  return {data, index_list<sizeof...(I)>(extents...)};
}

SEQMIX_END_NAMESPACE
