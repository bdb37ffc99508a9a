// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <seqmix/ops/rope/rope.hpp>
#include <seqmix/ops/softmax_attention/relative_position.hpp>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"
#include "support/counted_new.hpp"

// This program's operator new counts: a call that was made before allocates nothing.

using namespace seqmix_test;

TEST_CASE("the counter counts", "[softmax_attention]") {
  const long before = allocations;
  const std::vector<int> v(10);
  CHECK(allocations > before);
  CHECK(v.size() == 10);
}

TEST_CASE("the second identical call allocates nothing", "[softmax_attention]") {
  const attention_calls calls = calls_for<float>();
  for (const call_form form :
       {call_form::batched, call_form::packed, call_form::cached, call_form::paged}) {
    for (const std::int64_t T : {1, 60}) {
      attention_case c{.B = 3,
                       .T = T,
                       .S = 700,
                       .H = 4,
                       .HK = 2,
                       .D = 40,
                       .V = 24,
                       .causal = true,
                       .window = {.left = 300},
                       .sinks = 2,
                       .lse = scalar_type::f32};
      c.form = form;
      c.types = calls.types;
      c.alibi = true;
      c.between = alibi_between::integers;
      c.bias = c.relative = bias_shape::heads_and_keys;
      attention_problem p(c);
      seqmix::release_thread_memory();
      const long start = allocations;
      calls.run(p, {});
      const long first = allocations - start;
      calls.run(p, {});
      calls.run(p, {});
      const long later = allocations - start - first;
      CAPTURE(c);
      CHECK(first > 0);
      CHECK(later == 0);
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}

TEST_CASE("a call with its own workspace allocates nothing at all", "[softmax_attention]") {
  const attention_calls calls = calls_for<float>();
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv}) {
    attention_case c{.B = 2, .T = 20, .S = 300, .H = 4, .HK = 2, .D = 16, .V = 16};
    c.types = calls.types;
    attention_problem p(c);
    seqmix::context ctx{.pin = pin_of(how)};
    guarded_workspace scratch(calls.workspace_bytes(p, ctx), 1);
    ctx.workspace = scratch.span();
    seqmix::release_thread_memory();
    const long before = allocations;
    calls.run(p, ctx);
    const long during = allocations - before;
    CAPTURE(name(how));
    CHECK(during == 0);
    CHECK(scratch.guards_untouched());
    CHECK(verify(p, attention_reference(p)) == "");
  }
}

TEST_CASE("a smaller call after a larger one allocates nothing", "[softmax_attention]") {
  const attention_calls calls = calls_for<float>();
  attention_case c{.T = 50, .S = 100, .D = 64, .V = 64};
  c.types = calls.types;
  attention_problem large(c);
  c.T = 30;
  c.D = c.V = 20;
  attention_problem small(c);
  calls.run(large, {});
  const long before = allocations;
  calls.run(small, {});
  const long during = allocations - before;
  CHECK(during == 0);
}

TEST_CASE("tables of relative positions are made without allocations", "[softmax_attention]") {
  tensor<4> q(scalar_type::f32, {2, 20, 2, 16});
  tensor<3> r(scalar_type::f32, {30, 2, 16});
  tensor<4> logits(scalar_type::f32, {2, 2, 20, 30});
  q.fill(1);
  r.fill(2);
  const long before = allocations;
  seqmix::relative_position_logits(q.view<float>(), r.view<float>(), logits.view<float>());
  const long during = allocations - before;
  CHECK(during == 0);
}

TEST_CASE("merging and turning allocate nothing the second time", "[merge_attention][rope]") {
  tensor<5> parts(scalar_type::f32, {3, 2, 20, 2, 16});
  tensor<4> sums(scalar_type::f32, {3, 2, 2, 20});
  tensor<4> o(scalar_type::f32, {2, 20, 2, 16});
  tensor<4> turned(scalar_type::f32, {2, 20, 2, 16});
  parts.fill(1);
  sums.fill(2);
  const auto call = [&] {
    seqmix::merge_attention(parts.view<float>(), sums.view<float>(), o.view<float>());
    seqmix::rope(o.view<float>(), turned.view<float>(),
                 {.layout = seqmix::rope_layout::half_split});
  };
  call();
  const long before = allocations;
  call();
  const long during = allocations - before;
  CHECK(during == 0);
}
