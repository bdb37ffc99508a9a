// SPDX-License-Identifier: Apache-2.0
#pragma once

// Opt-in: link Eigen3::Eigen. Views borrow: the matrix, or the tensor, must outlive them.
#include <Eigen/Core>
#include <cstdint>
#include <seqmix/core/checks.hpp>
#include <seqmix/core/tensor_view.hpp>
#include <string>
#include <type_traits>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A dense Eigen object whose elements lie in memory: Matrix, Array, Map, Ref, Block, Transpose.
template <class M>
concept eigen_storage = std::is_base_of_v<Eigen::DenseBase<M>, M> && requires {
  requires(M::Flags & Eigen::DirectAccessBit) != 0;
  requires scalar<typename M::Scalar>;
};

/// Objects that hold elements themselves: a view of a temporary one would dangle.
template <class M>
inline constexpr bool owns_elements = std::is_base_of_v<Eigen::PlainObjectBase<M>, M>;
template <class P, int Options, class Stride>
inline constexpr bool owns_elements<Eigen::Ref<const P, Options, Stride>> = true;

template <class M>
concept eigen_argument = eigen_storage<std::remove_cvref_t<M>> &&
                         (std::is_lvalue_reference_v<M> || !owns_elements<std::remove_cvref_t<M>>);

/// The element type that a view of M gets: const when M is, or when what M refers to is.
template <class M>
using eigen_element = std::remove_pointer_t<decltype(std::declval<M&>().data())>;

template <class T>
using eigen_plain =
    Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace detail

/// A matrix in host memory with any strides, as Eigen sees it.
template <class T>
using eigen_map = Eigen::Map<
    std::conditional_t<std::is_const_v<T>, const detail::eigen_plain<T>, detail::eigen_plain<T>>,
    Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// An Eigen object as a view [rows, cols], whatever its storage order and strides.
template <detail::eigen_argument M>
auto as_view(M&& m) noexcept {
  constexpr bool by_rows = std::remove_cvref_t<M>::IsRowMajor;
  const std::int64_t row_step = by_rows ? m.outerStride() : m.innerStride();
  const std::int64_t column_step = by_rows ? m.innerStride() : m.outerStride();
  return tensor_view<detail::eigen_element<M>, 2>(m.data(), {m.rows(), m.cols()},
                                                  {row_step, column_step});
}

/// A matrix [T, heads * D], one token in each row, as a view [1, T, heads, D]. Row-major storage is
/// the quick path.
template <detail::eigen_argument M>
auto as_heads(M&& m, std::int64_t heads) {
  const auto v = as_view(m);
  using view_type = tensor_view<detail::eigen_element<M>, 4>;
  if (heads < 1 || v.extent(1) % heads != 0) {
    detail::report({"as_heads", "heads", "a divisor of " + std::to_string(v.extent(1)) + " columns",
                    std::to_string(heads)});
    return view_type{};
  }
  const std::int64_t dim = v.extent(1) / heads;
  return view_type(v.data_handle(), {std::int64_t{1}, v.extent(0), heads, dim},
                   {v.extent(0) * v.stride(0), v.stride(0), dim * v.stride(1), v.stride(1)});
}

/// A view [rows, cols] of host memory as an Eigen matrix; any strides, zero and negative ones too.
template <class T>
  requires std::is_arithmetic_v<T>
eigen_map<T> as_matrix(const tensor_view<T, 2>& v) {
  if (!v.memory().on_host()) {
    detail::report({"as_matrix", "view", "host memory", detail::device_text(v.memory())});
    return eigen_map<T>(nullptr, 0, 0, {0, 0});
  }
  return eigen_map<T>(v.data_handle(), v.extent(0), v.extent(1), {v.stride(0), v.stride(1)});
}

SEQMIX_END_NAMESPACE
