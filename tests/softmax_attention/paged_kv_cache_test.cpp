// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <seqmix/ops/softmax_attention/kv_cache.hpp>
#include <seqmix/ops/softmax_attention/paged_kv_cache.hpp>
#include <string>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/cache_tensors.hpp"
#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/errors.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

constexpr std::int64_t B = 3, HK = 2, D = 8, V = 5, steps = 40;

using tensors = cache_tensors<B, 2, steps, D, V>;

using contiguous = seqmix::kv_cache<bf16, f16>;
using paged = seqmix::paged_kv_cache<bf16, f16>;

/// What a paged cache must hold: the rows of each sequence, by the (sequence, token) they came
/// from.
struct model {
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> rows{B};

  contiguous as_cache(const tensors& t) const {
    contiguous cache(B, 400, HK, D, V);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      for (const auto& [source, token] : rows[b]) {
        cache.append(static_cast<std::int64_t>(b), t.keys(token, token + 1).slice(0, source, 1),
                     t.values(token, token + 1).slice(0, source, 1));
      }
    }
    return cache;
  }
};

bool holds(tensors& t, const paged& cache, const model& m) {
  const contiguous expected = m.as_cache(t);
  bool same = true;
  for (std::int64_t b = 0; b < B; ++b) {
    same &= cache.length(b) == expected.length(b);
  }
  seqmix::softmax_attention(t.q.view<const float>(), cache.view(), t.o.view<float>());
  seqmix::softmax_attention(t.q.view<const float>(), expected.view(), t.expected.view<float>());
  return same && t.o.all_bits() == t.expected.all_bits();
}

/// One random change to a cache and to what it must hold. Gives false if the pool was too full.
bool change(const tensors& t, paged& cache, model& m, std::uint64_t& seed) {
  const auto draw = [&](std::int64_t n) {
    seed = mix(seed);
    return static_cast<std::int64_t>(seed % static_cast<std::uint64_t>(n));
  };
  const std::int64_t kind = draw(6);
  const std::int64_t b = draw(B);
  auto& rows = m.rows[static_cast<std::size_t>(b)];
  const auto length = static_cast<std::int64_t>(rows.size());
  const std::int64_t from = draw(steps - 9);
  const std::int64_t to = from + draw(9);
  try {
    if (kind <= 1) {
      cache.append(b, t.keys(from, to).slice(0, b, 1), t.values(from, to).slice(0, b, 1));
      for (std::int64_t j = from; j < to; ++j) {
        rows.emplace_back(b, j);
      }
    } else if (kind == 2) {
      cache.append(t.keys(from, to), t.values(from, to));
      for (std::int64_t a = 0; a < B; ++a) {
        for (std::int64_t j = from; j < to; ++j) {
          m.rows[static_cast<std::size_t>(a)].emplace_back(a, j);
        }
      }
    } else if (kind == 3) {
      const std::int64_t most = draw(length + 3);
      cache.truncate(b, most);
      rows.resize(static_cast<std::size_t>(std::min(most, length)));
    } else if (kind == 4) {
      const std::int64_t first = draw(length + 1);
      std::vector<std::int64_t> kept;
      std::vector<std::pair<std::int64_t, std::int64_t>> left(rows.begin(), rows.begin() + first);
      for (std::int64_t j = first; j < length; ++j) {
        if (draw(3) != 0) {
          kept.push_back(j - first);
          left.push_back(rows[static_cast<std::size_t>(j)]);
        }
      }
      cache.keep(b, first, kept);
      rows = left;
    } else {
      const std::int64_t other = (b + 1) % B;
      cache.truncate(other, 0);
      m.rows[static_cast<std::size_t>(other)].clear();
      cache.fork(b, other);
      m.rows[static_cast<std::size_t>(other)] = rows;
    }
  } catch (const seqmix::error& e) {
    CHECK(e.operator_name() == "paged_kv_cache");
    CHECK((e.argument() == "k" || e.argument() == "rows"));
    return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a paged cache holds what a contiguous one does", "[paged_kv_cache]") {
  tensors t;
  for (const std::int64_t page : {1, 2, 3, 7, 16, 64}) {
    paged cache(B, std::max<std::int64_t>(90 / page, 4), page, HK, D, V);
    model m;
    std::uint64_t seed = static_cast<std::uint64_t>(page);
    int refused = 0;
    for (int step = 0; step < 300; ++step) {
      refused += change(t, cache, m, seed) ? 0 : 1;
      if (!holds(t, cache, m)) {
        CAPTURE(page, step);
        FAIL("the paged cache differs");
      }
    }
    CAPTURE(page, refused);
    CHECK((refused > 0 || page == 64));  // exhaustion is part of it
    cache.truncate(0);
    CHECK(cache.free_pages() == cache.pages());
  }
}

TEST_CASE("pages are taken when they are reached, and given back", "[paged_kv_cache]") {
  tensors t;
  paged cache(B, 10, 4, HK, D, V);
  CHECK(cache.pages() == 10);
  CHECK(cache.page_size() == 4);
  CHECK(cache.free_pages() == 10);
  CHECK(cache.bytes() == 10 * 4 * HK * (D + V) * 2);
  cache.append(t.keys(0, 4), t.values(0, 4));
  CHECK(cache.free_pages() == 7);
  cache.append(1, t.keys(4, 5).slice(0, 1, 1), t.values(4, 5).slice(0, 1, 1));
  CHECK(cache.free_pages() == 6);
  cache.truncate(1, 4);
  CHECK(cache.free_pages() == 7);
  cache.truncate(2, 0);
  CHECK(cache.free_pages() == 8);
  cache.fork(0, 2);
  CHECK(cache.free_pages() == 8);  // shared
  cache.truncate(0, 3);
  cache.append(0, t.keys(8, 9).slice(0, 0, 1), t.values(8, 9).slice(0, 0, 1));
  CHECK(cache.free_pages() == 7);  // no longer
}

TEST_CASE("what is written to a shared page shows in one sequence", "[paged_kv_cache]") {
  tensors t;
  paged cache(B, 10, 4, HK, D, V);
  cache.append(0, t.keys(0, 10).slice(0, 0, 1), t.values(0, 10).slice(0, 0, 1));
  cache.fork(0, 1);
  cache.fork(1, 2);
  CHECK(cache.free_pages() == 7);
  model m;
  for (auto& rows : m.rows) {
    for (std::int64_t j = 0; j < 10; ++j) {
      rows.emplace_back(0, j);
    }
  }
  CHECK(holds(t, cache, m));
  cache.truncate(1, 6);
  m.rows[1].resize(6);
  cache.append(1, t.keys(20, 21).slice(0, 1, 1), t.values(20, 21).slice(0, 1, 1));
  m.rows[1].emplace_back(1, 20);
  CHECK(holds(t, cache, m));
  const std::int64_t path[] = {1, 3};
  cache.keep(2, 2, path);
  m.rows[2] = {{0, 0}, {0, 1}, {0, 3}, {0, 5}};
  CHECK(holds(t, cache, m));
}

TEST_CASE("a view sees what happens later", "[paged_kv_cache]") {
  tensors t;
  paged cache(B, 30, 2, HK, D, V);
  const seqmix::kv_view<bf16, f16> early = cache.view();
  cache.append(t.keys(0, 9), t.values(0, 9));
  cache.truncate(1, 3);
  cache.append(1, t.keys(20, 24).slice(0, 1, 1), t.values(20, 24).slice(0, 1, 1));
  seqmix::softmax_attention(t.q.view<const float>(), early, t.o.view<float>());
  seqmix::softmax_attention(t.q.view<const float>(), cache.view(), t.expected.view<float>());
  CHECK(t.o.all_bits() == t.expected.all_bits());
}

TEST_CASE("a paged cache allocates at construction only", "[paged_kv_cache]") {
  tensors t;
  paged cache(B, 30, 2, HK, D, V);
  const std::int64_t path[] = {1, 2};
  const long before = allocations;
  for (int round = 0; round < 5; ++round) {
    cache.append(0, t.keys(0, 9).slice(0, 0, 1), t.values(0, 9).slice(0, 0, 1));
    cache.fork(0, 1);
    cache.append(1, t.keys(9, 12).slice(0, 0, 1), t.values(9, 12).slice(0, 0, 1));
    cache.keep(1, 8, path);
    cache.truncate(0);
  }
  CHECK(allocations == before);
}

TEST_CASE("what a paged cache has no room for is refused, and changes nothing",
          "[paged_kv_cache][errors]") {
  tensors t;
  paged cache(B, 5, 4, HK, D, V);
  cache.append(t.keys(0, 3), t.values(0, 3));
  const auto check = [&](const seqmix::error& e, const char* argument, const std::string& expected,
                         const std::string& actual) {
    CHECK(e.operator_name() == "paged_kv_cache");
    CHECK(e.argument() == argument);
    CHECK(e.expected() == expected);
    CHECK(e.actual() == actual);
    for (std::int64_t b = 0; b < B; ++b) {
      CHECK(cache.length(b) == 3);
    }
    CHECK(cache.free_pages() == 2);
  };
  const std::string room = "rows for at most 2 pages, what the pool has free";
  check(error_of([&] { cache.append(t.keys(0, 2), t.values(0, 2)); }), "k", room, "rows for 3");
  check(error_of(
            [&] { cache.append(1, t.keys(0, 10).slice(0, 0, 1), t.values(0, 10).slice(0, 0, 1)); }),
        "k", room, "rows for 3");
  check(error_of([&] { cache.fork(0, 1); }), "to", "an empty sequence: truncate it first", "3");
  check(error_of([&] { cache.fork(0, 0); }), "to", "an empty sequence: truncate it first", "3");
  check(error_of([&] { cache.fork(3, 0); }), "from", "0 to 2", "3");
  check(error_of([&] { cache.fork(0, -1); }), "to", "0 to 2", "-1");
  check(error_of([&] { cache.append(t.keys(0, 2), t.values(0, 3)); }), "v",
        "[B, n, HK, V] = [3, 2, 2, 5]", "[3, 3, 2, 5]");
  check(error_of([&] { cache.truncate(3, 1); }), "sequence", "0 to 2", "3");
  check(error_of([&] { paged(B, -1, 4, HK, D, V); }), "pages", "at least 0", "-1");
  check(error_of([&] { paged(B, 5, 0, HK, D, V); }), "page_size", "at least 1", "0");
  cache.append(t.keys(3, 4), t.values(3, 4));
  CHECK(cache.free_pages() == 2);

  // To compact a shared page takes a copy of it.
  paged full(2, 2, 4, HK, D, V);
  full.append(0, t.keys(0, 8).slice(0, 0, 1), t.values(0, 8).slice(0, 0, 1));
  full.fork(0, 1);
  const std::int64_t path[] = {2};
  const seqmix::error e = error_of([&] { full.keep(1, 5, path); });
  CHECK(e.argument() == "rows");
  CHECK(e.actual() == "rows for 1");
  CHECK(full.length(1) == 8);
  full.append(1, t.keys(0, 0).slice(0, 0, 1), t.values(0, 0).slice(0, 0, 1));
  const std::int64_t all[] = {0, 1};
  full.keep(1, 5, all);  // all three but the last, where they are
  CHECK(full.length(1) == 7);
  full.append(0, t.keys(0, 0).slice(0, 0, 1), t.values(0, 0).slice(0, 0, 1));
  CHECK(full.free_pages() == 0);
}
