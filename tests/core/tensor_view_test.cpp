// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/tensor_view.hpp>
#include <seqmix/core/view_of.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using seqmix::tensor_view;

namespace {

/// What any mdspan offers, with none of its headers: layout_left of a rank-2 extent.
template <class T>
struct column_major {
  using element_type = T;
  T* pointer;
  std::size_t rows, columns;

  static constexpr std::size_t rank() noexcept { return 2; }
  std::size_t extent(std::size_t axis) const { return axis == 0 ? rows : columns; }
  std::size_t stride(std::size_t axis) const { return axis == 0 ? 1 : rows; }
  T* data_handle() const { return pointer; }
};

struct checked_pointer {
  float* raw;
};
struct with_fancy_pointer {
  using element_type = float;
  static constexpr std::size_t rank() noexcept { return 2; }
  std::size_t extent(std::size_t) const { return 1; }
  std::size_t stride(std::size_t) const { return 1; }
  checked_pointer data_handle() const { return {}; }
};

std::vector<float> counted(std::size_t n) {
  std::vector<float> x(n);
  std::iota(x.begin(), x.end(), 0.0f);
  return x;
}

}  // namespace

TEST_CASE("a dense view is row-major") {
  auto x = counted(24);
  const tensor_view<float, 3> v{x.data(), {2, 3, 4}};
  CHECK(v.rank() == 3);
  CHECK(v.size() == 24);
  CHECK(!v.empty());
  CHECK(v.data_handle() == x.data());
  CHECK(v.extent(0) == 2);
  CHECK(v.extent(2) == 4);
  CHECK(v.stride(0) == 12);
  CHECK(v.stride(1) == 4);
  CHECK(v.stride(2) == 1);
  CHECK(v(1, 2, 3) == 23);
  v(1, 0, 2) = -1;
  CHECK(x[14] == -1);
  CHECK(v.memory() == seqmix::device{});
}

TEST_CASE("extents take any integer type") {
  auto x = counted(24);
  const std::size_t rows = 4;
  const short columns = 6;
  const tensor_view<float, 2> v{x.data(), {rows, columns}};
  CHECK(v(3, 5) == 23);
  const auto w = seqmix::view(x.data(), rows, 2u, std::int64_t{3});
  static_assert(std::is_same_v<decltype(w), const tensor_view<float, 3>>);
  CHECK(w(std::size_t{3}, 1, short{2}) == 23);
  // Extents above 32 bits are not cut.
  const auto huge = seqmix::view(static_cast<float*>(nullptr), std::size_t{1} << 33, 4);
  CHECK(huge.size() == std::int64_t{1} << 35);
}

TEST_CASE("a default-constructed view is empty") {
  const tensor_view<const float, 4> v;
  CHECK(v.data_handle() == nullptr);
  CHECK(v.empty());
  CHECK(v.size() == 0);
  CHECK(v.extent(3) == 0);
}

TEST_CASE("one zero extent makes a view empty, its other extents stay") {
  float x = 0;
  const auto v = seqmix::view(&x, 3, 0, 5);
  CHECK(v.empty());
  CHECK(v.extent(0) == 3);
  CHECK(v.stride(0) == 0);
  CHECK(v.stride(1) == 5);
}

TEST_CASE("negative and zero strides address what they say") {
  auto x = counted(6);
  const tensor_view<float, 2> reversed{x.data() + 5, {2, 3}, {-3, -1}};
  CHECK(reversed(0, 0) == 5);
  CHECK(reversed(0, 2) == 3);
  CHECK(reversed(1, 2) == 0);
  const tensor_view<float, 2> repeated{x.data(), {4, 3}, {0, 1}};
  CHECK(&repeated(3, 1) == &repeated(0, 1));
  CHECK(repeated.size() == 12);
}

TEST_CASE("permuted reorders axes and shares elements") {
  auto x = counted(24);
  const auto v = seqmix::view(x.data(), 2, 3, 4);
  const auto p = v.permuted<2, 0, 1>();
  CHECK(p.extent(0) == 4);
  CHECK(p.extent(1) == 2);
  CHECK(p.extent(2) == 3);
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 3; ++b) {
      for (int c = 0; c < 4; ++c) {
        REQUIRE(&p(c, a, b) == &v(a, b, c));
      }
    }
  }
}

TEST_CASE("slice takes a range of one axis") {
  auto x = counted(24);
  const auto v = seqmix::view(x.data(), 2, 3, 4);
  const auto s = v.slice(1, 1, 2).slice(2, 3, 1);
  CHECK(s.extent(0) == 2);
  CHECK(s.extent(1) == 2);
  CHECK(s.extent(2) == 1);
  CHECK(&s(0, 0, 0) == &v(0, 1, 3));
  CHECK(&s(1, 1, 0) == &v(1, 2, 3));
  CHECK(v.slice(0, 2, 0).empty());
}

TEST_CASE("the device travels through every derived view") {
  float x = 0;
  const seqmix::device gpu{seqmix::device_kind::cuda, 3};
  const tensor_view<float, 2> v{&x, {1, 1}, gpu};
  CHECK(v.memory() == gpu);
  CHECK(!v.memory().on_host());
  CHECK(v.permuted<1, 0>().memory() == gpu);
  CHECK(v.slice(0, 0, 1).memory() == gpu);
  CHECK(tensor_view<const float, 2>(v).memory() == gpu);
  CHECK(seqmix::as_tensor_view(v).memory() == gpu);
  CHECK(seqmix::device{seqmix::device_kind::cuda_pinned, 0}.on_host());
}

TEST_CASE("mutable converts to const, never back") {
  auto x = counted(6);
  const tensor_view<float, 2> v{x.data(), {2, 3}, {1, 2}};
  const tensor_view<const float, 2> c = v;
  CHECK(c.data_handle() == v.data_handle());
  CHECK(c.extent(1) == 3);
  CHECK(c.stride(1) == 2);
  static_assert(!std::is_convertible_v<tensor_view<const float, 2>, tensor_view<float, 2>>);
  static_assert(!std::is_convertible_v<tensor_view<float, 2>, tensor_view<const double, 2>>);
  static_assert(!std::is_convertible_v<tensor_view<float, 2>, tensor_view<const float, 3>>);
}

TEST_CASE("views are plain values") {
  static_assert(std::is_trivially_copyable_v<tensor_view<float, 4>>);
  static_assert(std::is_trivially_copy_constructible_v<tensor_view<float, 4>>);
  static_assert(std::is_trivially_copy_constructible_v<tensor_view<const float, 4>>);
  static_assert(std::is_trivially_copy_assignable_v<tensor_view<const float, 4>>);
  static_assert(std::is_trivially_destructible_v<tensor_view<float, 4>>);
  SUCCEED();
}

TEST_CASE("views work in constant expressions") {
  static constexpr float x[6] = {0, 1, 2, 3, 4, 5};
  constexpr auto v = seqmix::view(x, 2, 3);
  static_assert(v(1, 2) == 5 && v.permuted<1, 0>()(2, 1) == 5 && v.slice(0, 1, 1)(0, 0) == 3);
  SUCCEED();
}

TEST_CASE("an mdspan stand-in is a tensor argument by duck typing") {
  auto x = counted(6);
  using span = column_major<float>;
  static_assert(seqmix::view_of<span, 2> && seqmix::mutable_view_of<span, 2>);
  static_assert(seqmix::view_of<column_major<const float>, 2>);
  static_assert(!seqmix::mutable_view_of<column_major<const float>, 2>);
  static_assert(!seqmix::view_of<span, 3>);
  static_assert(!seqmix::view_of<column_major<char>, 2>);

  const auto v = seqmix::as_tensor_view(span{x.data(), 2, 3});
  static_assert(std::is_same_v<decltype(v), const tensor_view<float, 2>>);
  CHECK(v(1, 0) == 1);
  CHECK(v(0, 2) == 4);
  CHECK(v.stride(1) == 2);
}

TEST_CASE("what is no tensor argument") {
  static_assert(!seqmix::view_of<with_fancy_pointer, 2>);
  static_assert(!seqmix::view_of<float*, 1>);
  static_assert(!seqmix::view_of<std::vector<float>, 1>);
  static_assert(!seqmix::view_of<tensor_view<unsigned, 1>, 1>);
  static_assert(seqmix::view_of<tensor_view<const seqmix::bf16, 1>, 1>);
  SUCCEED();
}
