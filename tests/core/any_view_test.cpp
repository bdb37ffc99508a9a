// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/any_view.hpp>

#include <cstdint>
#include <type_traits>

#include "support/catch.hpp"

using seqmix::any_out;
using seqmix::any_view;
using seqmix::scalar_type;
using seqmix::tensor_view;

TEST_CASE("an optional tensor is given once it has data or a size") {
  float x[6] = {};
  CHECK(!any_view<2>{}.given());
  CHECK(!any_out<2>{}.given());
  CHECK(!any_view<2>(tensor_view<float, 2>{}).given());
  CHECK(any_view<2>(seqmix::view(x, 2, 3)).given());
  CHECK(any_view<2>(seqmix::view(x, 0, 3)).given());
  // Null data for a size is a mistake to report, not an absent option.
  CHECK(any_view<2>(seqmix::view(static_cast<float*>(nullptr), 2, 3)).given());
  CHECK(!any_view<2>(seqmix::view(static_cast<float*>(nullptr), 0, 3)).given());
}

TEST_CASE("erasure keeps pointer, type, extents, strides and device") {
  seqmix::bf16 x[6] = {};
  const seqmix::device pinned{seqmix::device_kind::cuda_pinned, 0};
  const tensor_view<seqmix::bf16, 2> v{x, {2, 3}, {1, 2}, pinned};

  const any_view<2> in = v;
  CHECK(in.data == x);
  CHECK(in.type == scalar_type::bf16);
  CHECK(in.extent(0) == 2);
  CHECK(in.extent(1) == 3);
  CHECK(in.stride(0) == 1);
  CHECK(in.stride(1) == 2);
  CHECK(in.size() == 6);
  CHECK(in.memory == pinned);

  const any_out<2> out = v;
  CHECK(out.data == x);
  CHECK(out.type == scalar_type::bf16);
  CHECK(out.stride(1) == 2);
  CHECK(out.memory == pinned);
}

TEST_CASE("const and mutable views become inputs, mutable ones outputs") {
  static_assert(std::is_convertible_v<tensor_view<float, 2>, any_view<2>>);
  static_assert(std::is_convertible_v<tensor_view<const float, 2>, any_view<2>>);
  static_assert(std::is_convertible_v<tensor_view<float, 2>, any_out<2>>);
  static_assert(!std::is_convertible_v<tensor_view<const float, 2>, any_out<2>>);
  static_assert(!std::is_convertible_v<tensor_view<float, 3>, any_view<2>>);
  static_assert(!std::is_convertible_v<any_view<2>, any_out<2>>);
  static_assert(std::is_trivially_copyable_v<any_view<4>> &&
                std::is_trivially_copyable_v<any_out<4>>);
  SUCCEED();
}

TEST_CASE("index vectors are read through their type and stride") {
  const std::int32_t narrow[4] = {1, -2, 3, -4};
  const std::int64_t wide[2] = {std::int64_t{1} << 40, -7};
  const any_view<1> every = seqmix::view(narrow, 4);
  CHECK(seqmix::detail::index_at(every, 3) == -4);
  const any_view<1> second = tensor_view<const std::int32_t, 1>{narrow + 3, {2}, {-2}};
  CHECK(seqmix::detail::index_at(second, 1) == -2);
  CHECK(seqmix::detail::index_at(any_view<1>(seqmix::view(wide, 2)), 0) == std::int64_t{1} << 40);
  CHECK(seqmix::detail::index_at(any_view<1>(seqmix::view(wide, 2)), 1) == -7);
}
