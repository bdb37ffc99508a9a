// SPDX-License-Identifier: Apache-2.0
#include <seqmix/interop/eigen.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::as_heads;
using seqmix::as_matrix;
using seqmix::as_view;
using seqmix::tensor_view;

namespace {

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Element (i, j) is 100 i + j.
template <class M>
M numbered(Eigen::Index rows, Eigen::Index columns) {
  M m(rows, columns);
  for (Eigen::Index i = 0; i < rows; ++i) {
    for (Eigen::Index j = 0; j < columns; ++j) {
      m(i, j) = static_cast<typename M::Scalar>(100 * i + j);
    }
  }
  return m;
}

template <class M, class T>
bool same_elements(const M& m, const tensor_view<T, 2>& v) {
  bool same = v.extent(0) == m.rows() && v.extent(1) == m.cols();
  for (Eigen::Index i = 0; same && i < m.rows(); ++i) {
    for (Eigen::Index j = 0; j < m.cols(); ++j) {
      same &= v(i, j) == m(i, j) && v.data_handle() != nullptr;
    }
  }
  return same;
}

template <class M>
concept viewable = requires(M&& m) { seqmix::as_view(std::forward<M>(m)); };

}  // namespace

TEST_CASE("matrices of both storage orders") {
  auto rows = numbered<row_major>(3, 5);
  auto columns = numbered<Eigen::MatrixXf>(3, 5);
  CHECK(same_elements(rows, as_view(rows)));
  CHECK(same_elements(columns, as_view(columns)));
  CHECK(as_view(rows).stride(0) == 5);
  CHECK(as_view(rows).stride(1) == 1);
  CHECK(as_view(columns).stride(0) == 1);
  CHECK(as_view(columns).stride(1) == 3);
  as_view(columns)(2, 4) = -1;
  CHECK(columns(2, 4) == -1);
}

TEST_CASE("fixed sizes, arrays, vectors and integers") {
  const auto fixed = numbered<Eigen::Matrix<double, 2, 3>>(2, 3);
  CHECK(same_elements(fixed, as_view(fixed)));
  const auto array = numbered<Eigen::ArrayXXf>(4, 3);
  CHECK(same_elements(array, as_view(array)));
  const auto integers = numbered<Eigen::MatrixXi>(2, 2);
  CHECK(same_elements(integers, as_view(integers)));
  Eigen::VectorXf column = Eigen::VectorXf::LinSpaced(7, 0, 6);
  CHECK(same_elements(column, as_view(column)));
  CHECK(as_view(column).extent(1) == 1);
  Eigen::RowVectorXd row = Eigen::RowVectorXd::LinSpaced(7, 0, 6);
  CHECK(same_elements(row, as_view(row)));
  CHECK(as_view(row).extent(0) == 1);
}

TEST_CASE("blocks, rows, columns, transposes, maps with strides and references") {
  auto m = numbered<Eigen::MatrixXf>(6, 8);
  auto r = numbered<row_major>(6, 8);
  CHECK(same_elements(m.block(1, 2, 3, 4), as_view(m.block(1, 2, 3, 4))));
  CHECK(same_elements(r.block(1, 2, 3, 4), as_view(r.block(1, 2, 3, 4))));
  CHECK(same_elements(m.row(2), as_view(m.row(2))));
  CHECK(same_elements(r.col(3), as_view(r.col(3))));
  CHECK(same_elements(m.transpose(), as_view(m.transpose())));
  CHECK(same_elements(r.transpose().topRows(3), as_view(r.transpose().topRows(3))));
  const Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> every_second(
      m.data(), 3, 4, {12, 2});
  CHECK(same_elements(every_second, as_view(every_second)));
  Eigen::Ref<Eigen::MatrixXf> ref = m.leftCols(3);
  CHECK(same_elements(ref, as_view(ref)));
  as_view(m.block(1, 2, 3, 4))(0, 0) = -5;
  CHECK(m(1, 2) == -5);
}

TEST_CASE("const is kept, and temporaries that own elements are refused") {
  using map = Eigen::Map<Eigen::MatrixXf>;
  using const_map = Eigen::Map<const Eigen::MatrixXf>;
  using block = Eigen::Block<Eigen::MatrixXf>;
  using const_block = Eigen::Block<const Eigen::MatrixXf>;
  const auto element = []<class M>(std::type_identity<M>) {
    return std::type_identity<typename decltype(as_view(std::declval<M>()))::element_type>{};
  };
  const auto is_const = [&](auto m) {
    return std::is_const_v<typename decltype(element(m))::type>;
  };
  CHECK(!is_const(std::type_identity<Eigen::MatrixXf&>{}));
  CHECK(is_const(std::type_identity<const Eigen::MatrixXf&>{}));
  CHECK(!is_const(std::type_identity<map&>{}));
  CHECK(!is_const(std::type_identity<map>{}));
  CHECK(is_const(std::type_identity<const map&>{}));
  CHECK(is_const(std::type_identity<const_map>{}));
  CHECK(!is_const(std::type_identity<block>{}));
  CHECK(is_const(std::type_identity<const_block>{}));
  CHECK(!is_const(std::type_identity<Eigen::Ref<Eigen::MatrixXf>>{}));
  CHECK(is_const(std::type_identity<Eigen::Ref<const Eigen::MatrixXf>&>{}));

  static_assert(viewable<Eigen::MatrixXf&> && viewable<const Eigen::MatrixXf&>);
  static_assert(!viewable<Eigen::MatrixXf> && !viewable<Eigen::Array3f>);
  static_assert(!viewable<Eigen::Ref<const Eigen::MatrixXf>>);
  static_assert(!viewable<Eigen::MatrixXcf&>);                                // no such element
  static_assert(!viewable<decltype(Eigen::MatrixXf() + Eigen::MatrixXf())>);  // no elements yet
  static_assert(!viewable<int&>);
}

TEST_CASE("a matrix of tokens as heads") {
  auto m = numbered<row_major>(5, 12);
  const auto v = as_heads(m, 3);
  static_assert(std::is_same_v<decltype(v), const tensor_view<float, 4>>);
  CHECK(v.extent(0) == 1);
  CHECK(v.extent(1) == 5);
  CHECK(v.extent(2) == 3);
  CHECK(v.extent(3) == 4);
  CHECK(v.stride(3) == 1);
  CHECK(v.stride(2) == 4);
  CHECK(v.stride(1) == 12);
  for (int t = 0; t < 5; ++t) {
    for (int h = 0; h < 3; ++h) {
      for (int d = 0; d < 4; ++d) {
        REQUIRE(&v(0, t, h, d) == &m(t, h * 4 + d));
      }
    }
  }
  // Columns of a fused projection, and column-major storage.
  const auto fused = as_heads(m.middleCols(4, 4), 2);
  CHECK(&fused(0, 3, 1, 1) == &m(3, 7));
  const auto columns = numbered<Eigen::MatrixXf>(5, 12);
  const auto w = as_heads(columns, 3);
  static_assert(std::is_same_v<decltype(w), const tensor_view<const float, 4>>);
  CHECK(&w(0, 4, 2, 3) == &columns(4, 11));
  const row_major none(0, 12);
  CHECK(as_heads(none, 3).empty());
}

TEST_CASE("columns that do not divide into heads are an error") {
  const auto m = numbered<row_major>(2, 12);
  for (const std::int64_t heads : {5, 0, -3}) {
    const auto e = error_of([&] { as_heads(m, heads); });
    CHECK(e.operator_name() == "as_heads");
    CHECK(e.argument() == "heads");
    CHECK(e.expected() == "a divisor of 12 columns");
    CHECK(e.actual() == std::to_string(heads));
  }
}

TEST_CASE("a view as a matrix") {
  float x[12];
  for (int i = 0; i < 12; ++i) {
    x[i] = static_cast<float>(i);
  }
  const auto dense = seqmix::view(x, 3, 4);
  CHECK(same_elements(as_matrix(dense), dense));
  const auto turned = dense.permuted<1, 0>();
  CHECK(same_elements(as_matrix(turned), turned));
  const tensor_view<float, 2> reversed{x + 11, {3, 2}, {-4, -1}};
  CHECK(same_elements(as_matrix(reversed), reversed));
  const tensor_view<const float, 2> repeated{x, {3, 2}, {0, 1}};
  CHECK(same_elements(as_matrix(repeated), repeated));

  as_matrix(dense)(2, 3) = 50;
  CHECK(x[11] == 50);
  as_matrix(dense) *= 2;
  CHECK(x[1] == 2);
  // Arithmetic through the map, and back to the same view.
  const Eigen::MatrixXf product = as_matrix(dense) * as_matrix(turned);
  CHECK(product(0, 0) == 4 + 16 + 36);
  auto map = as_matrix(dense);
  CHECK(as_view(map).data_handle() == x);
  CHECK(as_view(map).stride(0) == 4);

  static_assert(!std::is_assignable_v<decltype(as_matrix(repeated)(0, 0)), float>);
  CHECK(as_matrix(tensor_view<float, 2>{}).size() == 0);
}

TEST_CASE("a view of device memory is no matrix") {
  float x = 0;
  const tensor_view<float, 2> v{&x, {1, 1}, seqmix::device{seqmix::device_kind::cuda, 1}};
  const auto e = error_of([&] { as_matrix(v); });
  CHECK(e.operator_name() == "as_matrix");
  CHECK(e.actual() == "memory of cuda:1");
}
