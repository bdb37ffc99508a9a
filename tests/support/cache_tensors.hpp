// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tensor.hpp"

namespace seqmix_test {

/// What tests of caches append and ask with: keys and values of `Steps` tokens for each of `B`
/// sequences and 2 heads, and `Queries` queries of 4.
template <std::int64_t B, std::int64_t Queries, std::int64_t Steps, std::int64_t D, std::int64_t V>
struct cache_tensors {
  tensor<4> q{scalar_type::f32, {B, Queries, 4, D}};
  tensor<4> k{scalar_type::bf16, {B, Steps, 2, D}, layout::strided};
  tensor<4> v{scalar_type::f16, {B, Steps, 2, V}, layout::head_first};
  tensor<4> expected{scalar_type::f32, {B, Queries, 4, V}};
  tensor<4> o{scalar_type::f32, {B, Queries, 4, V}};
  cache_tensors() {
    q.fill(1);
    k.fill(2);
    v.fill(3);
  }
  auto keys(std::int64_t from, std::int64_t to) const {
    return k.view<const seqmix::bf16>().slice(1, from, to - from);
  }
  auto values(std::int64_t from, std::int64_t to) const {
    return v.view<const seqmix::f16>().slice(1, from, to - from);
  }
};

}  // namespace seqmix_test
