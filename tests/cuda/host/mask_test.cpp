// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <limits>
#include <seqmix/cuda/softmax_attention/mask.cuh>
#include <vector>

#include "support/catch.hpp"

// The kernels' masks against those of the CPU: for rows, and for tiles of keys.

using seqmix::attention_window;
using seqmix::unbounded;
using seqmix::visibility;
using seqmix::cuda::attention_params;
using seqmix::cuda::row_keys;
using seqmix::cuda::sequence_mask;
using seqmix::cuda::tile_walk;

namespace {

struct mask_case {
  bool causal;
  attention_window window;
  std::int64_t sinks;
};

std::vector<mask_case> cases() {
  std::vector<mask_case> all;
  for (const bool causal : {false, true}) {
    for (const std::int64_t left :
         {unbounded, std::int64_t{0}, std::int64_t{3}, std::int64_t{9}, std::int64_t{1} << 60}) {
      for (const std::int64_t right :
           {unbounded, std::int64_t{0}, std::int64_t{2}, std::int64_t{11}, std::int64_t{1} << 60}) {
        for (const std::int64_t sinks : {std::int64_t{0}, std::int64_t{1}, std::int64_t{6},
                                         std::numeric_limits<std::int64_t>::max()}) {
          all.push_back({causal, {left, right}, sinks});
        }
      }
    }
  }
  return all;
}

sequence_mask mask_of(const mask_case& c, std::int64_t queries, std::int64_t keys) {
  attention_params p{};
  p.causal = c.causal;
  p.window_left = c.window.left;
  p.window_right = c.window.right;
  p.sink_tokens = c.sinks;
  return {p, static_cast<int>(queries), static_cast<int>(keys)};
}

/// Calls `f(expected, mask, queries, keys)` for every case and short lengths.
template <class F>
void for_each_mask(F&& f) {
  constexpr std::int64_t lengths[] = {0, 1, 2, 5, 8, 13, 21};
  for (const mask_case& c : cases()) {
    for (const std::int64_t queries : lengths) {
      for (const std::int64_t keys : lengths) {
        f(visibility{queries, keys, c.causal, c.window, c.sinks}, mask_of(c, queries, keys),
          queries, keys);
      }
    }
  }
}

}  // namespace

TEST_CASE("rows see the same keys in 32 bits", "[cuda][host]") {
  std::int64_t wrong = 0;
  for_each_mask([&](const visibility& expected, const sequence_mask& mask, std::int64_t queries,
                    std::int64_t keys) {
    for (std::int64_t i = 0; i < queries; ++i) {
      for (std::int64_t j = 0; j < keys; ++j) {
        const bool seen = expected.row(i).contains(j);
        const row_keys row = mask.row(static_cast<int>(i));
        const auto key = static_cast<int>(j);
        wrong += row.contains(key) != seen || row.from(key).contains(0) != seen ? 1 : 0;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("rows of the longest sequences see the same keys", "[cuda][host]") {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() - 1024;
  std::int64_t wrong = 0;
  for (mask_case c : cases()) {
    for (const std::int64_t left : {c.window.left, most - 7, 2 * most}) {
      for (const std::int64_t right : {c.window.right, most - 7, 2 * most}) {
        c.window = {left, right};
        for (const auto& [queries, keys] :
             {std::pair{most, most}, std::pair{most, std::int64_t{9}},
              std::pair{std::int64_t{9}, most}, std::pair{most, most - 100}}) {
          const visibility expected{queries, keys, c.causal, c.window, c.sinks};
          const sequence_mask mask = mask_of(c, queries, keys);
          for (const std::int64_t i :
               {std::int64_t{0}, std::int64_t{1}, queries / 2, queries - 8, queries - 1}) {
            const auto there = expected.row(i);
            for (const std::int64_t at : {std::int64_t{0}, there.sink_end, there.begin, there.end,
                                          i + keys - queries, keys}) {
              for (const std::int64_t j : {at - 1, at, at + 1}) {
                if (j >= 0 && j < keys) {
                  wrong += mask.row(static_cast<int>(i)).contains(static_cast<int>(j)) !=
                                   there.contains(j)
                               ? 1
                               : 0;
                }
              }
            }
          }
        }
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a walk meets every tile with a visible pair once, and knows the whole ones and runs",
          "[cuda][host]") {
  constexpr int tile_keys = 4;
  std::int64_t missed = 0;      // seen tiles that the walk leaves out
  std::int64_t disordered = 0;  // tiles out of order, or met by the wrong one of several walkers
  std::int64_t not_whole = 0;   // tiles said to be whole in which a pair is hidden
  std::int64_t empty = 0;       // tiles walked over in vain
  std::int64_t broken = 0;      // tiles of a run that are left out, or not as whole as its first
  std::int64_t whole = 0;
  std::int64_t walked = 0;
  for_each_mask([&](const visibility& expected, const sequence_mask& mask, std::int64_t queries,
                    std::int64_t keys) {
    for (std::int64_t first = 0; first < queries; first += 3) {
      const std::int64_t last = std::min(first + 5, queries) - 1;
      const tile_walk<tile_keys> walk(mask, static_cast<int>(first), static_cast<int>(last));
      const auto pairs = [&](std::int64_t tile, auto&& count) {
        for (std::int64_t i = first; i <= last; ++i) {
          for (std::int64_t j = tile * tile_keys; j < (tile + 1) * tile_keys; ++j) {
            count(j < keys && expected.row(i).contains(j));
          }
        }
      };
      for (int tile = walk.from(0, 1); tile < walk.end; tile = walk.from(tile + 1, 1)) {
        broken += walk.run_end(tile) <= tile || walk.run_end(tile) > walk.end ? 1 : 0;
        for (int other = tile; other < walk.run_end(tile); ++other) {
          broken += walk.from(other, 1) != other || walk.whole(other) != walk.whole(tile) ? 1 : 0;
        }
      }
      for (const int step : {1, 2, 4}) {
        std::vector<char> met(static_cast<std::size_t>(keys / tile_keys + 2), 0);
        for (int start = 0; start < step; ++start) {
          int before = -1;
          for (int tile = walk.from(start, step); tile < walk.end;
               tile = walk.from(tile + step, step)) {
            disordered += tile <= before || tile % step != start ? 1 : 0;
            before = tile;
            met.at(static_cast<std::size_t>(tile)) = 1;
          }
        }
        for (std::size_t tile = 0; tile < met.size(); ++tile) {
          bool any = false;
          bool all = true;
          pairs(static_cast<std::int64_t>(tile), [&](bool seen) {
            any |= seen;
            all &= seen;
          });
          missed += any && met[tile] == 0 ? 1 : 0;
          empty += !any && met[tile] != 0 ? 1 : 0;
          walked += met[tile];
          const bool said = walk.whole(static_cast<int>(tile));
          not_whole += said && !all ? 1 : 0;
          whole += said ? 1 : 0;
        }
      }
    }
  });
  CHECK(missed == 0);
  CHECK(disordered == 0);
  CHECK(not_whole == 0);
  CHECK(broken == 0);
  CHECK(whole > walked / 10);
  CHECK(empty < walked / 100);
}
