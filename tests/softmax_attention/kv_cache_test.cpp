// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <seqmix/ops/softmax_attention/kv_cache.hpp>
#include <string>

#include "support/attention_calls.hpp"
#include "support/cache_tensors.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

constexpr std::int64_t B = 2, HK = 2, D = 8, V = 5;

using tensors = cache_tensors<B, 3, 12, D, V>;

using cache_type = seqmix::kv_cache<bf16, f16>;

}  // namespace

TEST_CASE("a cache holds what was appended", "[kv_cache]") {
  tensors t;
  cache_type cache(B, 20, HK, D, V);
  CHECK(cache.batch() == B);
  CHECK(cache.capacity() == 20);
  CHECK(cache.length(0) == 0);
  cache.append(t.keys(0, 7), t.values(0, 7));
  cache.append(t.keys(7, 8), t.values(7, 8));
  cache.append(t.keys(8, 8), t.values(8, 8));
  cache.append(t.keys(8, 12), t.values(8, 12));
  CHECK(cache.length(0) == 12);
  CHECK(cache.lengths()(1) == 12);
  seqmix::softmax_attention(t.q.view<const float>(), cache.view(), t.o.view<float>(),
                            {.causal = true});
  seqmix::softmax_attention(t.q.view<const float>(), t.keys(0, 12), t.values(0, 12),
                            t.expected.view<float>(), {.causal = true});
  CHECK(t.o.all_bits() == t.expected.all_bits());
}

TEST_CASE("a truncated cache goes on from there", "[kv_cache]") {
  tensors t;
  cache_type cache(B, 12, HK, D, V);
  cache.append(t.keys(0, 5), t.values(0, 5));
  cache.append(t.keys(0, 6), t.values(0, 6));  // a draft that was not taken
  cache.truncate(5);
  cache.append(t.keys(5, 12), t.values(5, 12));
  cache.truncate(100);
  cache.truncate(1, 9);
  CHECK(cache.length(0) == 12);
  CHECK(cache.length(1) == 9);
  const cache_type fork = cache;
  cache.truncate(0);
  CHECK(cache.length(0) == 0);
  const std::int64_t lengths[] = {12, 9};
  seqmix::softmax_attention(t.q.view<const float>(), fork.view(), t.o.view<float>());
  seqmix::softmax_attention(
      t.q.view<const float>(),
      seqmix::kv_view(t.keys(0, 12), t.values(0, 12), {.lengths = seqmix::view(lengths, 2)}),
      t.expected.view<float>());
  CHECK(t.o.all_bits() == t.expected.all_bits());
}

TEST_CASE("rows for one sequence alone", "[kv_cache]") {
  tensors t;
  cache_type cache(B, 12, HK, D, V);
  cache.append(t.keys(0, 5), t.values(0, 5));
  cache.append(1, t.keys(5, 8).slice(0, 1, 1), t.values(5, 8).slice(0, 1, 1));
  cache.append(0, t.keys(5, 6).slice(0, 0, 1), t.values(5, 6).slice(0, 0, 1));
  CHECK(cache.length(0) == 6);
  CHECK(cache.length(1) == 8);
  const std::int64_t lengths[] = {6, 8};
  seqmix::softmax_attention(t.q.view<const float>(), cache.view(), t.o.view<float>());
  seqmix::softmax_attention(
      t.q.view<const float>(),
      seqmix::kv_view(t.keys(0, 12), t.values(0, 12), {.lengths = seqmix::view(lengths, 2)}),
      t.expected.view<float>());
  CHECK(t.o.all_bits() == t.expected.all_bits());
}

TEST_CASE("of a tree of drafts one path is kept", "[kv_cache]") {
  tensors t;
  cache_type cache(B, 12, HK, D, V);
  cache.append(t.keys(0, 10), t.values(0, 10));
  const std::int64_t path[] = {0, 2, 5};
  cache.keep(0, 4, path);
  cache.keep(1, 10, {});
  CHECK(cache.length(0) == 7);
  CHECK(cache.length(1) == 10);
  cache_type expected(B, 12, HK, D, V);
  expected.append(t.keys(0, 10), t.values(0, 10));
  expected.truncate(0, 5);
  for (const std::int64_t row : {6, 9}) {
    expected.append(0, t.keys(row, row + 1).slice(0, 0, 1), t.values(row, row + 1).slice(0, 0, 1));
  }
  seqmix::softmax_attention(t.q.view<const float>(), cache.view(), t.o.view<float>());
  seqmix::softmax_attention(t.q.view<const float>(), expected.view(), t.expected.view<float>());
  CHECK(t.o.all_bits() == t.expected.all_bits());
  cache.keep(0, 2, {});
  CHECK(cache.length(0) == 2);
}

TEST_CASE("what does not fit a cache is refused, and changes nothing", "[kv_cache][errors]") {
  tensors t;
  cache_type cache(B, 8, HK, D, V);
  cache.append(t.keys(0, 5), t.values(0, 5));
  cache.truncate(0, 2);
  const auto check = [&](const seqmix::error& e, const char* argument, const std::string& expected,
                         const std::string& actual) {
    CHECK(e.operator_name() == "kv_cache");
    CHECK(e.argument() == argument);
    CHECK(e.expected() == expected);
    CHECK(e.actual() == actual);
    CHECK(cache.length(0) == 2);
    CHECK(cache.length(1) == 5);
  };
  check(error_of([&] { cache.append(t.keys(0, 4), t.values(0, 4)); }), "k",
        "at most 3 rows, what sequence 1 has room for", "4");
  check(error_of([&] { cache.append(t.keys(0, 2), t.values(0, 3)); }), "v",
        "[B, n, HK, V] = [2, 2, 2, 5]", "[2, 3, 2, 5]");
  check(error_of([&] { cache.append(t.keys(0, 2).slice(3, 0, 7), t.values(0, 2)); }), "k",
        "[B, n, HK, D] = [2, 2, 2, 8]", "[2, 2, 2, 7]");
  check(error_of([&] { cache.append(t.keys(0, 2).slice(0, 0, 1), t.values(0, 2)); }), "k",
        "[B, n, HK, D] = [2, 2, 2, 8]", "[1, 2, 2, 8]");
  check(error_of([&] { cache.truncate(-1); }), "length", "at least 0", "-1");
  check(error_of([&] { cache.truncate(2, 1); }), "sequence", "0 to 1", "2");
  check(error_of([&] { cache.append(2, t.keys(0, 1), t.values(0, 1)); }), "sequence", "0 to 1",
        "2");
  check(error_of([&] { cache.append(0, t.keys(0, 1), t.values(0, 1)); }), "k",
        "[1, n, HK, D] = [1, 1, 2, 8]", "[2, 1, 2, 8]");
  check(error_of(
            [&] { cache.append(0, t.keys(0, 7).slice(0, 0, 1), t.values(0, 7).slice(0, 0, 1)); }),
        "k", "at most 6 rows, what sequence 0 has room for", "7");
  const std::int64_t rising[] = {0, 1}, falling[] = {1, 0}, twice[] = {1, 1}, far[] = {0, 3};
  const std::int64_t negative[] = {-1};
  check(error_of([&] { cache.keep(-1, 0, rising); }), "sequence", "0 to 1", "-1");
  check(error_of([&] { cache.keep(1, 6, {}); }), "first", "0 to 5", "6");
  check(error_of([&] { cache.keep(1, 2, falling); }), "rows", "rising numbers below 3",
        "entry 1 = 0");
  check(error_of([&] { cache.keep(1, 2, twice); }), "rows", "rising numbers below 3",
        "entry 1 = 1");
  check(error_of([&] { cache.keep(1, 2, far); }), "rows", "rising numbers below 3", "entry 1 = 3");
  check(error_of([&] { cache.keep(1, 2, negative); }), "rows", "rising numbers below 3",
        "entry 0 = -1");
  check(error_of([&] { cache_type(B, -8, HK, D, V); }), "capacity", "at least 0", "-8");
  cache.append(t.keys(0, 3), t.values(0, 3));
  CHECK(cache.length(1) == 8);
}
