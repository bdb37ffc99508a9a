// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/functor_checks.hpp"

// Maps and lists of kept blocks, against what they are defined to be.

using namespace seqmix_test;
using seqmix::block_grid;
using seqmix::block_visibility;

namespace {

using rows = std::vector<std::string>;

/// The same blocks as a map of bytes and as lists. `keeps(map, i, j)` decides.
struct kept_blocks {
  block_grid grid;
  std::int64_t row_step;
  std::vector<std::uint8_t> bytes;
  std::vector<std::int32_t> begins{0};
  std::vector<std::int32_t> blocks;

  template <class Keeps>
  kept_blocks(const block_grid& g, std::int64_t maps, std::int64_t key_blocks, Keeps keeps)
      : grid(g),
        row_step(key_blocks + 3),
        bytes(static_cast<std::size_t>(maps * g.query_blocks * row_step), 0xff) {
    for (std::int64_t m = 0; m < maps; ++m) {
      for (std::int64_t i = 0; i < g.query_blocks; ++i) {
        for (std::int64_t j = 0; j < key_blocks; ++j) {
          const bool kept = keeps(m, i, j);
          bytes[static_cast<std::size_t>((m * g.query_blocks + i) * row_step + j)] = kept ? 1 : 0;
          if (kept) {
            blocks.push_back(static_cast<std::int32_t>(j));
          }
        }
        begins.push_back(static_cast<std::int32_t>(blocks.size()));
      }
    }
    seqmix::check_block_lists(grid, begins, blocks, key_blocks);
  }

  seqmix::block_map_mask map() const { return {grid, bytes.data(), row_step}; }
  seqmix::block_list_mask lists() const { return {grid, begins.data(), blocks.data()}; }
};

bool at_random(std::int64_t m, std::int64_t i, std::int64_t j) {
  return mix(static_cast<std::uint64_t>((m * 100 + i) * 100 + j)) % 3 == 0;
}

/// A grid over rows of all lengths in use, with maps for each sequence and each pair of heads.
kept_blocks grid_for_calls(std::int64_t block_queries, std::int64_t block_keys) {
  return {{block_queries, block_keys, 400 / block_queries + 1, 2, 2},
          4,
          400 / block_keys + 1,
          at_random};
}

}  // namespace

TEST_CASE("kept blocks of a grid are seen", "[softmax_attention]") {
  const kept_blocks kept({2, 3, 3}, 1, 3, [](std::int64_t, std::int64_t i, std::int64_t j) {
    return (i + j) % 2 == 0;
  });
  const rows expected{"xxx...x", "xxx...x", "...xxx.", "...xxx.", "xxx...x"};
  CHECK(picture(kept.map(), 5, 7) == expected);
  CHECK(picture(kept.lists(), 5, 7) == expected);
  // Rows count from the first query, whatever the number of keys.
  CHECK(picture(kept.lists(), 3, 5) == rows{"xxx..", "xxx..", "...xx"});
  CHECK(picture(kept.map(), 3, 5) == rows{"xxx..", "xxx..", "...xx"});
}

TEST_CASE("every sequence and group of heads has its map", "[softmax_attention]") {
  // Map m keeps block m of each row.
  const kept_blocks kept({4, 1, 2, 3, 2}, 6, 6,
                         [](std::int64_t m, std::int64_t, std::int64_t j) { return j == m; });
  for (std::int64_t sequence = 0; sequence < 3; ++sequence) {
    for (std::int64_t head = 0; head < 6; ++head) {
      for (std::int64_t key = 0; key < 6; ++key) {
        const seqmix::score_context at{sequence, head, 5, key, 8, 6};
        const bool expected = key == sequence * 2 + head / 3;
        CHECK(kept.map()(at) == expected);
        CHECK(kept.lists()(at) == expected);
      }
    }
  }
  // Of both groups' heads together: a key of one of them, of none.
  const auto both = [](std::int64_t key) {
    return seqmix::mask_block{1, 0, 6, 0, 8, key, key + 1, 8, 6};
  };
  const auto one = [](std::int64_t key) {
    return seqmix::mask_block{1, 3, 6, 0, 8, key, key + 1, 8, 6};
  };
  const auto says = [&](const seqmix::mask_block& b) {
    CHECK(kept.map().classify(b) == kept.lists().classify(b));
    return kept.map().classify(b);
  };
  CHECK(says(both(2)) == block_visibility::partial);
  CHECK(says(both(1)) == block_visibility::empty);
  CHECK(says(one(3)) == block_visibility::full);
  CHECK(says(one(2)) == block_visibility::empty);
}

TEST_CASE("what maps and lists say of tiles is true", "[softmax_attention]") {
  for (const auto& [q, k] : {std::pair{1, 1}, std::pair{3, 4}, std::pair{5, 2}, std::pair{20, 3}}) {
    const kept_blocks kept({q, k, 14 / q + 1}, 1, 14 / k + 1, at_random);
    check_classification(kept.map());
    check_classification(kept.lists());
  }
}

TEST_CASE("maps and lists in calls of every form", "[softmax_attention]") {
  const kept_blocks small = grid_for_calls(5, 7);
  check_in_calls(small.map());
  check_in_calls(small.lists());
  check_in_calls(grid_for_calls(64, 64).lists());
  check_in_calls(grid_for_calls(128, 16).map());
  const kept_blocks large = grid_for_calls(32, 128);
  check_in_calls(seqmix::both_masks{large.lists(), seqmix::prefix_mask{40}});
}

TEST_CASE("a map and its lists have the same bits, all blocks those of no mask",
          "[softmax_attention]") {
  attention_case c = case_of(200, 300);
  c.causal = true;
  attention_problem p(c);
  const auto bits = [&](const auto&... mask) {
    call<float>(p, {}, mask...);
    std::vector<std::uint64_t> all;
    p.o.for_each([&](const tensor<4>::index& i) { all.push_back(p.o.bits(i)); });
    return all;
  };
  const kept_blocks some = grid_for_calls(64, 32);
  CHECK(bits(any_mask(some.map())) == bits(any_mask(some.lists())));
  const kept_blocks every({64, 32, 7, 2, 2}, 4, 13,
                          [](std::int64_t, std::int64_t, std::int64_t) { return true; });
  CHECK(bits(any_mask(every.lists())) == bits());
  CHECK(bits(any_mask(every.map())) == bits());
}

TEST_CASE("rows without a block, and blocks that nobody keeps", "[softmax_attention]") {
  const kept_blocks kept({16, 32, 8}, 1, 8, [](std::int64_t, std::int64_t i, std::int64_t j) {
    return i != 1 && j != 2;
  });
  attention_problem p(case_of(60, 250));
  const seqmix::block_list_mask lists = kept.lists();
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    call<float>(p, {.pin = pin_of(how)}, any_mask(lists));
    bool right = true;
    p.o.for_each([&](const tensor<4>::index& i) { right &= (i[1] / 16 == 1) == (p.o[i] == 0); });
    p.lse.for_each(
        [&](const tensor<3>::index& i) { right &= (i[2] / 16 == 1) == (p.lse[i] == -infinity); });
    const attention_problem clean = p;
    attention_problem dirty = p;
    dirty.k.set({0, 70, 1, 3}, std::numeric_limits<double>::quiet_NaN());
    dirty.v.set({1, 90, 0, 5}, infinity);
    call<float>(dirty, {.pin = pin_of(how)}, any_mask(lists));
    dirty.o.for_each(
        [&](const tensor<4>::index& i) { right &= dirty.o.bits(i) == clean.o.bits(i); });
    CAPTURE(name(how));
    CHECK(right);
  }
}

TEST_CASE("lists that are none are refused", "[softmax_attention][errors]") {
  const auto refusal = [](const block_grid& grid, std::vector<std::int32_t> begins,
                          std::vector<std::int32_t> blocks) {
    const seqmix::error e = error_of([&] { seqmix::check_block_lists(grid, begins, blocks, 5); });
    CHECK(e.operator_name() == "check_block_lists");
    return e.argument() + ": " + e.expected() + ", " + e.actual();
  };
  const block_grid grid{16, 16, 2};
  seqmix::check_block_lists(grid, std::vector<std::int32_t>{0, 2, 2},
                            std::vector<std::int32_t>{0, 4}, 5);
  CHECK(refusal(grid, {0, 2, 3}, {0, 3, 5}) ==
        "blocks: ascending, each once, below 5, 5 after -1 in row 1");
  CHECK(refusal(grid, {0, 2, 3}, {3, 3, 1}) ==
        "blocks: ascending, each once, below 5, 3 after 3 in row 0");
  CHECK(refusal(grid, {0, 1, 3}, {3, 1, -1}) ==
        "blocks: ascending, each once, below 5, -1 after 1 in row 1");
  CHECK(refusal(grid, {0, 3, 2}, {0, 1}) ==
        "begins: no list that ends before it begins or behind the blocks, row 0 from 0 to 3");
  CHECK(refusal(grid, {0, 1, 0, 1, 2}, {0, 1}) ==
        "begins: no list that ends before it begins or behind the blocks, row 1 from 1 to 0");
  CHECK(refusal(grid, {0, 1}, {0}) == "begins: one more than a multiple of 2 rows, 2");
  CHECK(refusal(grid, {}, {}) == "begins: one more than a multiple of 2 rows, 0");
  CHECK(refusal(grid, {1, 1, 2}, {0, 1}) == "begins: from 0 to the 2 blocks, from 1 to 2");
  CHECK(refusal(grid, {0, 1, 1}, {0, 1}) == "begins: from 0 to the 2 blocks, from 0 to 1");
  CHECK(refusal({0, 16, 2}, {0, 0, 0}, {}) ==
        "grid: at least 1 query, key and block of queries, 0, 16, 2");
}
