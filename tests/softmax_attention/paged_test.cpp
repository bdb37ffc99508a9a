// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"
#include "support/packed_problem.hpp"

// A paged cache gives the bits of a contiguous one. Pools hold NaN wherever no key in use lies, and
// tables hold garbage past the last page in use.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

constexpr masking maskings[] = {{"none", false, {}, 0},
                                {"causal", true, {}, 0},
                                {"window", true, {.left = 70}, 0},
                                {"window and sinks", true, {.left = 70}, 5},
                                {"all terms", true, {.left = 70}, 5, true}};

constexpr std::int64_t page_sizes[] = {1, 3, 16, 64, 100};

std::vector<attention_calls> all_calls() {
  return target::calls<element_types<float>, element_types<bf16>,
                       element_types<float, bf16, bf16, float>, element_types<f16>,
                       element_types<double>>();
}

attention_case case_with(const attention_calls& calls, const masking& m) {
  attention_case c;
  m.apply(c);
  c.B = 3;
  c.H = 4;
  c.HK = 2;
  c.types = calls.types;
  c.lse = scalar_type::f32;
  return c;
}

/// The bits of the same case in another form.
output_bits bits_in(const attention_calls& calls, attention_case c, call_form form,
                    const execution& e) {
  c.form = form;
  attention_problem p(c);
  CHECK(run(calls, p, e) == "");
  return bits_of(p);
}

void check_pages(const attention_calls& calls, attention_case c, const execution& e) {
  const output_bits expected = bits_in(calls, c, call_form::cached, {.how = e.how});
  for (const std::int64_t page : page_sizes) {
    c.page = page;
    if (bits_in(calls, c, call_form::paged, e) != expected) {
      CAPTURE(c, e);
      FAIL_CHECK("the paged cache's bits differ from the contiguous cache's");
    }
  }
}

}  // namespace

TEST_CASE("a paged cache equals a contiguous one, bit for bit", "[softmax_attention][paged]") {
  for (const attention_calls& calls : all_calls()) {
    for (const masking& m : maskings) {
      for (const std::int64_t T : {1, 2, 40, 100}) {
        for (const head_dims& n : {head_dims{64, 64}, head_dims{36, 17}}) {
          attention_case c = case_with(calls, m);
          c.T = T;
          c.S = T == 1 ? 700 : 290;
          c.D = n.D;
          c.V = n.V;
          check_pages(calls, c, {});
        }
      }
    }
  }
}

TEST_CASE("a paged cache equals a contiguous one in every algorithm",
          "[softmax_attention][paged]") {
  for (const attention_calls& calls : target::calls<element_types<float>, element_types<bf16>>()) {
    for (const masking& m : maskings) {
      for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
        for (const std::int64_t T : {1, 2, 40}) {
          attention_case c = case_with(calls, m);
          c.T = T;
          c.S = how == algorithm::naive ? 90 : 330;
          c.D = 32;
          c.V = 48;
          check_pages(calls, c, {.how = how});
        }
      }
    }
  }
}

TEST_CASE("pools of any strides, tables of either type", "[softmax_attention][paged]") {
  for (const attention_calls& calls : target::calls<element_types<float>>()) {
    for (const layout kind : {layout::dense, layout::padded, layout::strided, layout::head_first,
                              layout::reversed, layout::misaligned}) {
      for (const std::uint64_t seed :
           {1u, 3u, 4u, 6u}) {  // tables: i64, i64 strided, i32, i32 strided
        for (const std::int64_t T : {1, 70}) {
          attention_case c = case_with(calls, maskings[1]);
          c.T = T;
          c.S = 210;
          c.D = c.V = 64;
          c.k = c.v = kind;
          c.seed = seed;
          check_pages(calls, c, {});
        }
      }
    }
  }
}

TEST_CASE("executors move no bits of a paged call", "[softmax_attention][paged][threads]") {
  for (const attention_calls& calls : target::calls<element_types<float>>()) {
    for (const std::int64_t T : {1, 9, 200}) {
      attention_case c = case_with(calls, maskings[3]);
      c.T = T;
      c.S = 1100;
      c.D = c.V = 32;
      for (const execution& e :
           {execution{.threads = 2}, execution{.threads = 3, .shuffle = 1},
            execution{.threads = 1, .shuffle = 3},
            execution{.threads = 3, .shuffle = 2, .user_workspace = true, .workspace_shift = 4}}) {
        check_pages(calls, c, e);
      }
    }
  }
}

TEST_CASE("a paged sequence equals the sequence alone", "[softmax_attention][paged]") {
  for (const attention_calls& calls : target::calls<element_types<float>, element_types<bf16>>()) {
    for (const std::int64_t T : {1, 5, 60}) {
      for (const std::int64_t page : page_sizes) {
        attention_case c = case_with(calls, maskings[2]);
        c.B = 5;
        c.T = T;
        c.S = 1000;
        c.D = c.V = 32;
        c.form = call_form::paged;
        c.page = page;
        attention_problem p(c);
        run(calls, p, {});
        for (const sequence_place& s : p.sequences) {
          attention_problem one = alone(p, s);
          run(calls, one, {});
          CAPTURE(c, s.keys);
          CHECK((bits_of(p, s) == bits_of(one, one.sequences[0])));
        }
      }
    }
  }
}

TEST_CASE("non-finite values in pages reach only the rows that see them",
          "[softmax_attention][paged]") {
  const attention_calls calls = calls_for<float>();
  for (const std::int64_t page : page_sizes) {
    for (const algorithm how : {algorithm::tiled, algorithm::split_kv}) {
      attention_case c = case_with(calls, maskings[3]);
      c.B = 1;
      c.T = 30;
      c.S = 200;
      c.form = call_form::paged;
      c.page = page;
      attention_problem clean(c);
      attention_problem dirty(c);
      const std::int64_t key = 185;  // row 15's own
      for (std::int64_t h = 0; h < c.HK; ++h) {
        dirty.v.set({0, key, h, 3}, infinity);
        dirty.k.set({0, key, h, 2}, std::numeric_limits<double>::quiet_NaN());
      }
      run(calls, clean, {.how = how});
      run(calls, dirty, {.how = how});
      bool spread = false;
      bool reached = true;
      clean.o.for_each([&](const tensor<4>::index& i) {
        const bool sees_it = i[1] >= 15;
        spread |= !sees_it && clean.o.bits(i) != dirty.o.bits(i);
        reached &= !sees_it || std::isnan(dirty.o[i]);
      });
      CAPTURE(c, name(how));
      CHECK_FALSE(spread);
      CHECK(reached);
    }
  }
}

TEST_CASE("sequences share pages", "[softmax_attention][paged]") {
  // Two sequences with one prefix, in three pages of two keys; the pool has them in another order.
  constexpr std::int64_t H = 1, D = 8;
  std::vector<float> keys(4 * 2 * D), values(4 * 2 * D), queries(2 * D), paged(2 * D), plain(2 * D);
  std::iota(keys.begin(), keys.end(), -20.0f);
  std::iota(values.begin(), values.end(), 1.0f);
  std::iota(queries.begin(), queries.end(), 0.0f);
  for (float& x : queries) {
    x *= 0.01f;
  }
  const std::int32_t table[] = {3, 0, 3, 2};
  const std::int64_t lengths[] = {4, 3};
  const auto q = seqmix::view(queries.data(), 2, 1, H, D);
  seqmix::softmax_attention(
      q,
      seqmix::kv_view(
          seqmix::view(keys.data(), 4, 2, H, D), seqmix::view(values.data(), 4, 2, H, D),
          {.lengths = seqmix::view(lengths, 2), .block_table = seqmix::view(table, 2, 2)}),
      seqmix::view(paged.data(), 2, 1, H, D));
  std::vector<float> k(2 * 4 * D), v(2 * 4 * D);
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t j = 0; j < lengths[b]; ++j) {
      for (std::int64_t d = 0; d < D; ++d) {
        const auto to = static_cast<std::size_t>((b * 4 + j) * D + d);
        const auto from = static_cast<std::size_t>((table[b * 2 + j / 2] * 2 + j % 2) * D + d);
        k[to] = keys[from];
        v[to] = values[from];
      }
    }
  }
  seqmix::softmax_attention(
      q,
      seqmix::kv_view(seqmix::view(k.data(), 2, 4, H, D), seqmix::view(v.data(), 2, 4, H, D),
                      {.lengths = seqmix::view(lengths, 2)}),
      seqmix::view(plain.data(), 2, 1, H, D));
  CHECK(paged == plain);
}

TEST_CASE("a paged call without keys, or without sequences", "[softmax_attention][paged]") {
  std::vector<float> q(16, 1.0f), o(16, -1.0f);
  const std::int32_t lengths[] = {0, 0};
  const std::int32_t garbage[] = {-7, 1 << 30};
  const auto pool = seqmix::tensor_view<const float, 4>(nullptr, {0, 16, 1, 8});
  const auto call = [&](std::int64_t batch, seqmix::any_view<2> table) {
    seqmix::softmax_attention(
        seqmix::view(q.data(), batch, 1, 1, 8),
        seqmix::kv_view(pool, pool,
                        {.lengths = seqmix::view(lengths, batch), .block_table = table}),
        seqmix::view(o.data(), batch, 1, 1, 8));
  };
  call(0, seqmix::tensor_view<const std::int32_t, 2>(nullptr, {0, 0}));
  CHECK(o == std::vector<float>(16, -1.0f));
  call(2, seqmix::tensor_view<const std::int32_t, 2>(nullptr, {2, 0}));
  CHECK(o == std::vector<float>(16, 0.0f));
  o.assign(16, -1.0f);
  call(2, seqmix::view(garbage, 2, 1));
  CHECK(o == std::vector<float>(16, 0.0f));
}

TEST_CASE("a paged call needs an implementation that has pages", "[softmax_attention][paged]") {
  using feature = seqmix::softmax_attention_feature;
  static seqmix::dispatch::feature_set<feature> asked;
  static seqmix::dispatch::backend<seqmix::softmax_attention_problem> registered{
      .entry = {.name = "observer",
                .runs_on = seqmix::dispatch::processor::cpu,
                .query =
                    [](const seqmix::softmax_attention_problem& p, const seqmix::context&) {
                      asked = p.required;
                      return seqmix::dispatch::offer{.lacks = "everything"};
                    },
                .run = nullptr},
      .preference = 100};
  seqmix::dispatch::registry<seqmix::softmax_attention_problem>::add(registered);
  const attention_calls calls = calls_for<float>();
  attention_case c{.S = 20, .form = call_form::cached};
  attention_problem cached(c);
  calls.explain(cached, {});
  CHECK_FALSE(asked.contains(feature::paged));
  c.form = call_form::paged;
  attention_problem paged(c);
  calls.explain(paged, {});
  CHECK(asked.contains(feature::paged));
  CHECK(asked.contains(feature::key_lengths));
}
