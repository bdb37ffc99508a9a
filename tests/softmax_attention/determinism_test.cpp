// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"
#include "support/packed_problem.hpp"

// Results as bits: a row depends on its own sequence alone.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

constexpr masking maskings[] = {{"none", false, {}, 0},
                                {"causal", true, {}, 0},
                                {"window", true, {.left = 70}, 0},
                                {"window and sinks", true, {.left = 70}, 5},
                                {"all terms", true, {.left = 70}, 5, true}};

attention_case case_with(const attention_calls& calls, const masking& m) {
  attention_case c;
  m.apply(c);
  c.types = calls.types;
  c.lse = scalar_type::f32;
  return c;
}

std::vector<attention_calls> all_calls() {
  return target::calls<element_types<float>, element_types<float, bf16, bf16, float>>();
}

}  // namespace

TEST_CASE("packed sequences equal a loop over them, bit for bit", "[softmax_attention]") {
  using starts = std::vector<std::int64_t>;
  using offsets = std::pair<starts, starts>;
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const auto& [q_starts, k_starts] :
           target::sizes({offsets{{0, 0, 16}, {0, 0, 16}}, offsets{{0, 15}, {0, 15}},
                          offsets{{0, 1, 100, 300, 1200, 2048}, {0, 1, 100, 300, 1200, 2048}},
                          offsets{{0, 0, 1, 5, 70, 70}, {0, 9, 9, 700, 770, 780}},
                          offsets{{0, 300, 301, 302}, {0, 20, 900, 900}}, offsets{{0}, {0}}},
                         {offsets{{0, 0, 16}, {0, 0, 16}}, offsets{{0, 15}, {0, 15}},
                          offsets{{0, 1, 129, 300, 1200, 2048}, {0, 1, 129, 300, 1200, 2048}},
                          offsets{{0, 0, 8, 17, 70, 70}, {0, 9, 9, 700, 770, 780}},
                          offsets{{0, 8, 16, 25}, {0, 64, 129, 1300}},
                          offsets{{0, 300, 301, 302}, {0, 20, 900, 900}}, offsets{{0}, {0}}})) {
        const bool large = q_starts.back() > 1000;
        for (const head_dims& n : target::dims({large ? 16 : 40, 24})) {
          attention_case c = case_with(calls, m);
          c.H = large ? 2 : 4;
          c.HK = large ? 1 : 2;
          c.D = n.D;
          c.V = n.V;
          attention_problem p = packed_problem(c, q_starts, k_starts);
          run(calls, p, {});
          for (const sequence_place& s : p.sequences) {
            attention_problem one = alone(p, s);
            run(calls, one, {});
            if (bits_of(p, s) != bits_of(one, one.sequences[0])) {
              CAPTURE(p.c, m.name, s.q_begin, s.queries, s.keys);
              FAIL_CHECK("the packed rows differ from the sequence alone");
            }
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("a sequence has the same bits alone and in a batch, in any layout",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const auto& [T, S] : target::sizes(
               {std::pair{1, 700}, std::pair{3, 129}, std::pair{70, 300}, std::pair{200, 60}},
               {std::pair{1, 700}, std::pair{8, 129}, std::pair{9, 129}, std::pair{70, 300},
                std::pair{129, 191}, std::pair{200, 60}})) {
        for (const layout kind : {layout::dense, layout::strided, layout::head_first}) {
          for (const head_dims& n : target::dims({36, 17})) {
            attention_case c = case_with(calls, m);
            c.B = 3;
            c.T = T;
            c.S = S;
            c.H = 4;
            c.HK = 2;
            c.D = n.D;
            c.V = n.V;
            c.q = c.k = c.v = c.o = kind;
            attention_problem batch(c);
            run(calls, batch, {});
            for (const sequence_place& s : batch.sequences) {
              attention_problem one = alone(batch, s, target::alike(kind));
              run(calls, one, {});
              if (bits_of(batch, s) != bits_of(one, one.sequences[0])) {
                CAPTURE(c, m.name, s.batch);
                FAIL_CHECK("the batch's rows differ from the sequence alone");
              }
            }
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("lengths of a cache equal truncated tensors, bit for bit", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const std::int64_t T : target::sizes({1, 2, 5, 40}, {1, 2, 5, 8, 9, 40, 130})) {
        for (const head_dims& n : target::dims({32, 32})) {
          attention_case c = case_with(calls, m);
          c.B = 5;
          c.T = T;
          c.S = 1500;
          c.H = 4;
          c.HK = 2;
          c.D = n.D;
          c.V = n.V;
          c.form = call_form::cached;
          attention_problem p(c);
          run(calls, p, {});
          for (const sequence_place& s : p.sequences) {
            attention_problem one = alone(p, s);
            run(calls, one, {});
            if (bits_of(p, s) != bits_of(one, one.sequences[0])) {
              CAPTURE(c, m.name, s.batch, s.keys);
              FAIL_CHECK("the cached rows differ from the truncated call");
            }
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("threads, their order and the scratch move no bits", "[softmax_attention][threads]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
        for (const auto& [T, S] : {std::pair{2, 900}, std::pair{8, 2000}, std::pair{400, 333}}) {
          for (const head_dims& n : target::dims({20, 28})) {
            attention_case c = case_with(calls, m);
            c.B = 2;
            c.T = T;
            c.S = S;
            c.H = 4;
            c.HK = 2;
            c.D = n.D;
            c.V = n.V;
            c.form = form;
            attention_problem p(c);
            run(calls, p, {});
            const output_bits expected = bits_of(p);
            for (const execution& e : target::executions(
                     {execution{}, execution{.threads = 2}, execution{.threads = 3},
                      execution{.threads = 3, .shuffle = 1}, execution{.threads = 3, .shuffle = 2},
                      execution{.threads = 1, .shuffle = 3}, execution{.threads = 16},
                      execution{.user_workspace = true, .workspace_shift = 4},
                      execution{.threads = 3, .shuffle = 4, .user_workspace = true}})) {
              const std::string scratch = run(calls, p, e);
              if (!scratch.empty() || bits_of(p) != expected) {
                CAPTURE(c, m.name, e, scratch);
                FAIL_CHECK("the bits differ from those of the plain call");
              }
            }
          }
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("a sequence's bits do not depend on its neighbours' lengths",
          "[softmax_attention][threads]") {
  // Short and long neighbours change how tasks are cut, never this sequence's arithmetic.
  for (const attention_calls& calls : all_calls()) {
    attention_case c = case_with(calls, maskings[1]);
    c.H = 2;
    c.D = c.V = target::dims({16, 16})[0].D;
    for (const std::int64_t neighbour : {0, 1, 17, 3000}) {
      attention_problem p = packed_problem(c, {0, 130, 130 + neighbour}, {0, 200, 200 + neighbour});
      for (const int threads : {1, 3}) {
        run(calls, p, {.threads = threads});
        attention_problem one = alone(p, p.sequences[0]);
        run(calls, one, {});
        CAPTURE(neighbour, threads);
        CHECK((bits_of(p, p.sequences[0]) == bits_of(one, one.sequences[0])));
      }
    }
  }
}

TEST_CASE("a row's bits do not depend on the other heads", "[softmax_attention]") {
  // One head alone against the same head among many, for multi-head attention.
  for (const attention_calls& calls : all_calls()) {
    for (const std::int64_t T : {3, 50}) {
      attention_case c = case_with(calls, maskings[2]);
      c.T = T;
      c.S = 200;
      c.H = c.HK = 5;
      c.D = target::dims({33, 9})[0].D;
      c.V = target::dims({33, 9})[0].V;
      attention_problem all(c);
      run(calls, all, {});
      attention_case single = c;
      single.H = single.HK = 1;
      for (std::int64_t h = 0; h < c.H; ++h) {
        attention_problem one(single);
        one.q.for_each([&](const tensor<4>::index& i) { one.q.set(i, all.q[{0, i[1], h, i[3]}]); });
        one.k.for_each([&](const tensor<4>::index& i) { one.k.set(i, all.k[{0, i[1], h, i[3]}]); });
        one.v.for_each([&](const tensor<4>::index& i) { one.v.set(i, all.v[{0, i[1], h, i[3]}]); });
        run(calls, one, {});
        bool same = true;
        one.o.for_each([&](const tensor<4>::index& i) {
          same &= one.o.bits(i) == all.o.bits({0, i[1], h, i[3]});
        });
        CAPTURE(T, h);
        CHECK(same);
      }
    }
  }
}

TEST_CASE("repeated calls give the same bits", "[softmax_attention][threads]") {
  for (const attention_calls& calls : target::calls<element_types<float>>()) {
    attention_case c = case_with(calls, std::end(maskings)[-1]);
    c.B = 2;
    c.T = 90;
    c.S = 400;
    c.H = 3;
    c.HK = 3;
    c.D = c.V = target::dims({8, 8})[0].D;
    attention_problem p(c);
    run(calls, p, {.threads = 2});
    const output_bits first = bits_of(p);
    for (int i = 0; i < 20; ++i) {
      run(calls, p, {.threads = 2, .shuffle = static_cast<std::uint64_t>(i)});
      REQUIRE((bits_of(p) == first));
    }
  }
}
