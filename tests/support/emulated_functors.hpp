// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <seqmix/cuda/softmax_attention/score.cuh>
#include <seqmix/ops/softmax_attention/naive.hpp>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "cuda/functor_calls.hpp"
#include "emulated_attention.hpp"

// A user's functors inside kernels on the emulated GPU, against the same functors inside the
// oracle.

namespace seqmix_test {

using masked = seqmix::cuda::functor_score<void, test_mask>;
using scored = seqmix::cuda::functor_score<capped_and_near, void>;
using scored_and_masked = seqmix::cuda::functor_score<capped_and_near, test_mask>;

/// `launch(call, functors)` runs the kernel.
template <class Score, class Mask, class Launch>
void check_functors(const attention_case& c,
                    const seqmix::cuda::functor_score<Score, Mask>& functors, Launch&& launch) {
  using seqmix::bf16;
  attention_problem p(c);
  seqmix::softmax_attention_problem call = descriptor_of<bf16>(p);
  call.score = &functors.function;
  call.mask = &functors.mask;
  p.clear_outputs();
  seqmix::detail::naive_softmax_attention<bf16, bf16, bf16, bf16, attention_problem, Score, Mask>(
      call);
  attention_reference expected(p);
  const std::vector<char> owned = p.owned_rows();
  std::size_t at = 0;
  p.o.for_each([&](const tensor<4>::index& i) {
    expected.o[at++] = owned[static_cast<std::size_t>(i[1])] == 0 ? 0 : p.o[i];
  });
  at = 0;
  p.lse.for_each([&](const tensor<3>::index& i) {
    expected.lse[at++] = owned[static_cast<std::size_t>(i[2])] == 0 ? 0 : p.lse[i];
  });

  p.clear_outputs();
  launch(call, functors);
  CAPTURE(c);
  CHECK(verify(p, expected, bound::ceiling) == "");
}

inline attention_case functor_case(std::int64_t T, std::int64_t S, std::uint64_t seed) {
  constexpr scalar_type type = seqmix::scalar_type_of<seqmix::bf16>;
  attention_case c{.B = 2,
                   .T = T,
                   .S = S,
                   .H = 4,
                   .HK = 2,
                   .D = 64,
                   .V = 64,
                   .causal = seed % 2 == 0,
                   .lse = scalar_type::f32,
                   .form = seed % 3 == 0 ? call_form::packed : call_form::batched,
                   .seed = seed};
  c.types = {type, type, type, type, true};
  if (seed % 4 == 1) {  // after the terms, before the masks
    c.softcap = 4;
    c.alibi = c.sink_logits = true;
    c.window = {.left = 50};
    c.sinks = 2;
  }
  return c;
}

/// Functors of every kind over these lengths: `check(case, functors, seed)`.
template <class Lengths, class Check>
void check_all_functors(const Lengths& lengths, Check&& check) {
  std::uint64_t seed = 0;
  for (const auto& [T, S] : lengths) {
    ++seed;
    check(functor_case(T, S, seed), scored{{}, test_score, {}}, seed);
    for (const test_mask::rule rule : {test_mask::rule::scattered, test_mask::rule::chunks,
                                       test_mask::rule::prefix, test_mask::rule::nothing}) {
      for (const bool answers : {false, true}) {
        ++seed;
        check(functor_case(T, S, seed), masked{{}, {}, {rule, answers}}, seed);
        check(functor_case(T, S, seed), scored_and_masked{{}, test_score, {rule, answers}}, seed);
      }
    }
  }
}

/// Lists of kept blocks over these lengths, of up to 300 queries and 500 keys.
template <class Lengths, class Check>
void check_lists(const Lengths& lengths, Check&& check) {
  std::uint64_t seed = 0;
  for (const auto& [block_queries, block_keys] : block_sizes) {
    const random_block_lists lists(block_queries, block_keys);
    for (const auto& [T, S] : lengths) {
      ++seed;
      check(functor_case(T, S, seed), masked{{}, {}, lists.mask()}, seed);
    }
  }
}

}  // namespace seqmix_test
