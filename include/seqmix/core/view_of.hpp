// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <seqmix/core/tensor_view.hpp>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class>
inline constexpr bool is_tensor_view = false;
template <class T, std::size_t Rank>
inline constexpr bool is_tensor_view<tensor_view<T, Rank>> = true;

/// mdspan's members, by duck typing: no mdspan header is included. Only plain pointers as handles:
/// an accessor that computes something else could not be honoured.
template <class X>
concept mdspan_like = requires(const X& x, std::size_t axis) {
  typename X::element_type;
  { X::rank() } -> std::convertible_to<std::size_t>;
  { x.extent(axis) } -> std::convertible_to<std::int64_t>;
  { x.stride(axis) } -> std::convertible_to<std::int64_t>;
  { x.data_handle() } -> std::convertible_to<typename X::element_type*>;
};

}  // namespace detail

/// A tensor argument of rank `Rank`: any tensor_view, or any mdspan with a plain pointer.
template <class X, std::size_t Rank>
concept view_of = detail::mdspan_like<X> && (X::rank() == Rank) && scalar<typename X::element_type>;

/// A `view_of` whose elements may be written.
template <class X, std::size_t Rank>
concept mutable_view_of = view_of<X, Rank> && !std::is_const_v<typename X::element_type>;

template <detail::mdspan_like X>
constexpr auto as_tensor_view(const X& x) noexcept {
  using T = typename X::element_type;
  if constexpr (detail::is_tensor_view<X>) {
    return x;
  } else {
    return [&]<std::size_t... A>(std::index_sequence<A...>) {
      constexpr std::size_t rank = sizeof...(A);
      return tensor_view<T, rank>(static_cast<T*>(x.data_handle()),
                                  index_list<rank>(static_cast<std::int64_t>(x.extent(A))...),
                                  index_list<rank>(static_cast<std::int64_t>(x.stride(A))...));
    }(std::make_index_sequence<X::rank()>{});
  }
}

namespace detail {

/// Tensors of the batched (rank 4) or the packed (rank 3) form of a call, all of real numbers.
template <class Q, class K, class V, class O>
concept sequence_tensors =
    ((view_of<Q, 4> && view_of<K, 4> && view_of<V, 4> && mutable_view_of<O, 4>) ||
     (view_of<Q, 3> && view_of<K, 3> && view_of<V, 3> && mutable_view_of<O, 3>)) &&
    real_scalar<typename Q::element_type> && real_scalar<typename K::element_type> &&
    real_scalar<typename V::element_type> && real_scalar<typename O::element_type>;

/// A packed tensor gets a batch axis of extent 1 in front.
template <class X>
constexpr auto with_batch_axis(const X& x) noexcept {
  const auto v = as_tensor_view(x);
  if constexpr (X::rank() == 3) {
    return tensor_view<typename X::element_type, 4>(
        v.data_handle(), {1, v.extent(0), v.extent(1), v.extent(2)},
        {std::int64_t{0}, v.stride(0), v.stride(1), v.stride(2)}, v.memory());
  } else {
    return v;
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
