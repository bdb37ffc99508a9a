// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

// Results as bits: a row depends on its own sequence alone.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

struct masking {
  const char* name;
  bool causal;
  seqmix::attention_window window;
  std::int64_t sinks;
};
constexpr masking maskings[] = {{"none", false, {}, 0},
                                {"causal", true, {}, 0},
                                {"window", true, {.left = 70}, 0},
                                {"window and sinks", true, {.left = 70}, 5}};

attention_case case_with(const attention_calls& calls, const masking& m) {
  attention_case c;
  c.causal = m.causal;
  c.window = m.window;
  c.sinks = m.sinks;
  c.types = calls.types;
  c.lse = scalar_type::f32;
  return c;
}

std::vector<attention_calls> all_calls() {
  return {calls_for<float>(), calls_for<float, bf16, bf16, float>()};
}

template <std::size_t Rank>
void copy(const tensor<Rank>& from, tensor<Rank>& to, std::int64_t from_batch,
          std::int64_t from_row, std::int64_t to_batch, std::int64_t to_row, std::int64_t rows) {
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t h = 0; h < to.extent(2); ++h) {
      for (std::int64_t x = 0; x < to.extent(3); ++x) {
        to.set({to_batch, to_row + t, h, x}, from[{from_batch, from_row + t, h, x}]);
      }
    }
  }
}

/// Sequence `s` of `p` as a call of its own.
attention_problem alone(const attention_problem& p, const sequence_place& s) {
  attention_case c = p.c;
  c.B = 1;
  c.T = s.queries;
  c.S = s.keys;
  c.form = call_form::batched;
  c.q = c.k = c.v = c.o = layout::dense;
  attention_problem one(c);
  copy(p.q, one.q, s.batch, s.q_begin, 0, 0, s.queries);
  copy(p.k, one.k, s.batch, s.k_begin, 0, 0, s.keys);
  copy(p.v, one.v, s.batch, s.k_begin, 0, 0, s.keys);
  return one;
}

/// A packed problem with these offsets for queries and keys.
attention_problem packed(attention_case c, const std::vector<std::int64_t>& q_starts,
                         const std::vector<std::int64_t>& k_starts) {
  c.B = 1;
  c.T = q_starts.back();
  c.S = k_starts.back();
  c.form = call_form::packed;
  c.seed = 2;  // no lengths, no rows behind
  attention_problem p(c);
  p.q = tensor<4>(c.types.q, {1, c.T, c.H, c.D}, c.q);
  p.k = tensor<4>(c.types.k, {1, c.S, c.HK, c.D}, c.k);
  p.v = tensor<4>(c.types.v, {1, c.S, c.HK, c.V}, c.v);
  p.o = tensor<4>(c.types.o, {1, c.T, c.H, c.V}, c.o);
  p.lse = tensor<3>(c.lse, {1, c.H, c.T});
  p.q.fill(11);
  p.k.fill(12);
  p.v.fill(13);
  p.q_offsets = index_tensor(q_starts, true);
  p.k_offsets = index_tensor(k_starts, false);
  p.lengths = {};
  p.sequences.clear();
  for (std::size_t i = 0; i + 1 < q_starts.size(); ++i) {
    p.sequences.push_back({0, q_starts[i], q_starts[i + 1] - q_starts[i], k_starts[i],
                           k_starts[i + 1] - k_starts[i]});
  }
  return p;
}

}  // namespace

TEST_CASE("packed sequences equal a loop over them, bit for bit", "[softmax_attention]") {
  using starts = std::vector<std::int64_t>;
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const auto& [q_starts, k_starts] :
           {std::pair{starts{0, 0, 16}, starts{0, 0, 16}}, std::pair{starts{0, 15}, starts{0, 15}},
            std::pair{starts{0, 1, 100, 300, 1200, 2048}, starts{0, 1, 100, 300, 1200, 2048}},
            std::pair{starts{0, 0, 1, 5, 70, 70}, starts{0, 9, 9, 700, 770, 780}},
            std::pair{starts{0, 300, 301, 302}, starts{0, 20, 900, 900}},
            std::pair{starts{0}, starts{0}}}) {
        const bool large = q_starts.back() > 1000;
        attention_case c = case_with(calls, m);
        c.H = large ? 2 : 4;
        c.HK = large ? 1 : 2;
        c.D = large ? 16 : 40;
        c.V = 24;
        attention_problem p = packed(c, q_starts, k_starts);
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
  SUCCEED();
}

TEST_CASE("a sequence has the same bits alone and in a batch, in any layout",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const auto& [T, S] :
           {std::pair{1, 700}, std::pair{3, 129}, std::pair{70, 300}, std::pair{200, 60}}) {
        for (const layout kind : {layout::dense, layout::strided, layout::head_first}) {
          attention_case c = case_with(calls, m);
          c.B = 3;
          c.T = T;
          c.S = S;
          c.H = 4;
          c.HK = 2;
          c.D = 36;
          c.V = 17;
          c.q = c.k = c.v = c.o = kind;
          attention_problem batch(c);
          run(calls, batch, {});
          for (const sequence_place& s : batch.sequences) {
            attention_problem one = alone(batch, s);
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
  SUCCEED();
}

TEST_CASE("lengths of a cache equal truncated tensors, bit for bit", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const std::int64_t T : {1, 2, 5, 40}) {
        attention_case c = case_with(calls, m);
        c.B = 5;
        c.T = T;
        c.S = 1500;
        c.H = 4;
        c.HK = 2;
        c.D = c.V = 32;
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
  SUCCEED();
}

TEST_CASE("threads, their order and the scratch move no bits", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
        for (const auto& [T, S] : {std::pair{2, 900}, std::pair{8, 2000}, std::pair{400, 333}}) {
          attention_case c = case_with(calls, m);
          c.B = 2;
          c.T = T;
          c.S = S;
          c.H = 4;
          c.HK = 2;
          c.D = 20;
          c.V = 28;
          c.form = form;
          attention_problem p(c);
          run(calls, p, {});
          const output_bits expected = bits_of(p);
          for (const execution& e :
               {execution{}, execution{.threads = 2}, execution{.threads = 3},
                execution{.threads = 3, .shuffle = 1}, execution{.threads = 3, .shuffle = 2},
                execution{.threads = 1, .shuffle = 3}, execution{.threads = 16},
                execution{.user_workspace = true, .workspace_shift = 4},
                execution{.threads = 3, .shuffle = 4, .user_workspace = true}}) {
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
  SUCCEED();
}

TEST_CASE("a sequence's bits do not depend on its neighbours' lengths", "[softmax_attention]") {
  // Short and long neighbours change how tasks are cut, never this sequence's arithmetic.
  for (const attention_calls& calls : all_calls()) {
    attention_case c = case_with(calls, maskings[1]);
    c.H = 2;
    c.D = c.V = 16;
    for (const std::int64_t neighbour : {0, 1, 17, 3000}) {
      attention_problem p = packed(c, {0, 130, 130 + neighbour}, {0, 200, 200 + neighbour});
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
      c.D = 33;
      c.V = 9;
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

TEST_CASE("repeated calls give the same bits", "[softmax_attention]") {
  const attention_calls calls = calls_for<float>();
  attention_case c = case_with(calls, maskings[3]);
  c.B = 2;
  c.T = 90;
  c.S = 400;
  c.H = 3;
  c.HK = 3;
  attention_problem p(c);
  run(calls, p, {.threads = 2});
  const output_bits first = bits_of(p);
  for (int i = 0; i < 20; ++i) {
    run(calls, p, {.threads = 2, .shuffle = static_cast<std::uint64_t>(i)});
    REQUIRE((bits_of(p) == first));
  }
}
