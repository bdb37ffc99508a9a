// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;

// Block-diagonal attention is a chunk mask without neighbours: each block of w tokens by itself.

namespace {

/// The definition: one call of the oracle for every block of w tokens.
void loop_over_blocks(const tensor<4>& q, const tensor<4>& k, const tensor<4>& v,
                      const tensor<4>& o, const tensor<3>& lse, std::int64_t w, bool causal) {
  const std::int64_t T = q.extent(1);
  for (std::int64_t begin = 0; begin < T; begin += w) {
    const std::int64_t n = std::min(w, T - begin);
    const auto block = [&](const tensor<4>& t) { return t.view<const float>().slice(1, begin, n); };
    seqmix::naive_softmax_attention(
        block(q), block(k), block(v), o.view<float>().slice(1, begin, n),
        {.causal = causal, .lse = lse.view<float>().slice(2, begin, n)});
  }
}

}  // namespace

TEST_CASE("a chunk mask without neighbours is a loop over blocks", "[softmax_attention]") {
  for (const std::int64_t T : {1, 40, 130, 400}) {
    for (const std::int64_t w : {1, 7, 32, 64, 100, 1000}) {
      for (const bool causal : {false, true}) {
        const std::int64_t B = 2, H = 4, HK = 2, D = 20, V = 12;
        tensor<4> q(scalar_type::f32, {B, T, H, D});
        tensor<4> k(scalar_type::f32, {B, T, HK, D}, layout::head_first);
        tensor<4> v(scalar_type::f32, {B, T, HK, V});
        q.fill(1);
        k.fill(2);
        v.fill(3);
        tensor<4> expected(scalar_type::f32, {B, T, H, V});
        tensor<3> expected_lse(scalar_type::f32, {B, H, T});
        loop_over_blocks(q, k, v, expected, expected_lse, w, causal);
        for (const char* algorithm : {"", "tiled", "split_kv"}) {
          if (T * H / HK > 128 && std::string(algorithm) == "split_kv") {
            continue;  // is for few rows a key-value head
          }
          tensor<4> o(scalar_type::f32, {B, T, H, V});
          tensor<3> lse(scalar_type::f32, {B, H, T});
          seqmix::softmax_attention(
              q.view<const float>(), k.view<const float>(), v.view<const float>(), o.view<float>(),
              seqmix::chunk_mask{w, 0, 0}, {.causal = causal, .lse = lse.view<float>()},
              {.pin = {.algorithm = algorithm}});
          CAPTURE(T, w, causal, algorithm);
          CHECK(compare(o.values(), expected.values(), tolerance_of(scalar_type::f32)) == "");
          CHECK(compare(lse.values(), expected_lse.values(), tolerance_of(scalar_type::f32),
                        bound::target, 1) == "");
        }
      }
    }
  }
}

TEST_CASE("a block of block-diagonal attention does not see the others", "[softmax_attention]") {
  const std::int64_t T = 100, w = 16, D = 8;
  tensor<4> q(scalar_type::f32, {1, T, 1, D});
  tensor<4> o(scalar_type::f32, {1, T, 1, D});
  q.fill(4);
  const auto run = [&] {
    o.clear();
    const auto x = q.view<const float>();
    seqmix::softmax_attention(x, x, x, o.view<float>(), seqmix::chunk_mask{w, 0, 0}, {});
    return o.all_bits();
  };
  const auto clean = run();
  q.set({0, 37, 0, 3}, 5);  // in block [32, 48)
  const auto changed = run();
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const std::size_t token = i / D;
    CHECK((clean[i] != changed[i]) == (token >= 32 && token < 48));
  }
}
