// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/convert.hpp>

#include <cstdint>
#include <type_traits>

#include "support/catch.hpp"

using seqmix::bf16;
using seqmix::f16;
using seqmix::detail::narrow;
using seqmix::detail::widen;

TEST_CASE("one element in and out of the compute type") {
  CHECK(widen<float>(f16(0.333f)) == static_cast<float>(f16(0.333f)));
  CHECK(widen<double>(bf16(0.333f)) == static_cast<double>(static_cast<float>(bf16(0.333f))));
  CHECK(widen<double>(0.1f) == static_cast<double>(0.1f));
  CHECK(widen<double>(0.1) == 0.1);
  CHECK(narrow<f16>(0.333).bits == f16(0.333f).bits);
  CHECK(narrow<bf16>(0.333f).bits == bf16(0.333f).bits);
  CHECK(narrow<float>(0.1) == 0.1f);
  CHECK(narrow<double>(0.1) == 0.1);
}

TEST_CASE("any double tensor makes the computation double") {
  using seqmix::detail::compute_type;
  static_assert(std::is_same_v<compute_type<float, f16, bf16, float>, float>);
  static_assert(std::is_same_v<compute_type<f16, f16>, float>);
  static_assert(std::is_same_v<compute_type<float, f16, double>, double>);
  SUCCEED();
}

TEST_CASE("an erased tensor gets its type back") {
  f16 x[6];
  const seqmix::device gpu{seqmix::device_kind::cuda, 1};
  const seqmix::tensor_view<f16, 2> v{x, {2, 3}, {1, -2}, gpu};
  const auto in = seqmix::detail::restore<const f16>(seqmix::any_view<2>(v));
  static_assert(std::is_same_v<decltype(in), const seqmix::tensor_view<const f16, 2>>);
  CHECK(in.data_handle() == x);
  CHECK(in.extents().values == v.extents().values);
  CHECK(in.strides().values == v.strides().values);
  CHECK(in.memory() == gpu);
  CHECK(seqmix::detail::restore<f16>(seqmix::any_out<2>(v)).data_handle() == x);
}

TEST_CASE("a log-sum-exp is written through its type and strides") {
  double wide[24] = {};
  const seqmix::tensor_view<double, 3> turned{wide, {2, 3, 4}, {1, 2, 6}};
  seqmix::detail::write_lse(turned, 1, 2, 3, 0.1);
  CHECK(wide[1 + 4 + 18] == 0.1);
  float narrow_values[24] = {};
  seqmix::detail::write_lse(seqmix::view(narrow_values, 2, 3, 4), 1, 0, 2, 0.1);
  CHECK(narrow_values[14] == 0.1f);
  seqmix::detail::write_lse({}, 1, 2, 3, 0.1);
}
