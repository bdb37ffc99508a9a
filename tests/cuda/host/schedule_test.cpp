// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <seqmix/core/config.hpp>
#include <set>
#include <tuple>
#include <vector>

#include "support/catch.hpp"
#include "support/emulated_gpu/warp.hpp"
// Compiled for the host, with the emulated warp.
#include <seqmix/cuda/softmax_attention/sm90/schedule.cuh>

using namespace seqmix::cuda;

namespace {

struct tiles {
  static constexpr int block_rows = 128;
  static constexpr int block_keys = 128;
  static constexpr int kept_sequences = 40;  // of up to 71
};

using item = std::tuple<int, int, int, int>;  // sequence, head, first row, end row

/// The items of every block of threads, as its first lane gets them.
template <class Make>
std::vector<std::vector<item>> items_of(unsigned blocks, Make make) {
  std::vector<std::vector<item>> all(blocks);
  for (unsigned block = 0; block < blocks; ++block) {
    seqmix_test::run_warp(block, blocks, [&](unsigned lane) {
      auto schedule = make();
      for (work_item w = schedule.next(); w.first_row >= 0; w = schedule.next()) {
        if (lane == 0) {
          all[block].emplace_back(w.sequence, w.head, w.first_row, w.end_row);
        }
      }
    });
  }
  return all;
}

std::multiset<item> together(const std::vector<std::vector<item>>& all) {
  std::multiset<item> items;
  for (const auto& one : all) {
    items.insert(one.begin(), one.end());
  }
  return items;
}

}  // namespace

TEST_CASE("sequences of one length: every item once, and as much work for everyone", "[schedule]") {
  for (const int row_blocks : {1, 3, 16}) {
    for (const int section : {1, 5, 24}) {
      attention_params p{};
      p.sequences = 3;
      const launch_shape shape{.shift = 0,
                               .heads = 8,
                               .items = 24 * row_blocks,
                               .row_blocks = row_blocks,
                               .section = section,
                               .from_first = false};
      p.heads = shape.heads;
      p.max_q = 128 * row_blocks - 5;  // the first block of each is not full
      const auto all = items_of(7, [&] { return even_schedule<tiles>{p, shape}; });
      std::multiset<item> expected;
      for (int sequence = 0; sequence < 3; ++sequence) {
        for (int head = 0; head < 8; ++head) {
          for (int block = 0; block < row_blocks; ++block) {
            expected.emplace(sequence, head, std::max(0, 128 * block - 5), 128 * block + 123);
          }
        }
      }
      CAPTURE(row_blocks, section);
      CHECK(together(all) == expected);
      for (const auto& one : all) {
        CHECK(one.size() >= expected.size() / 7);
        CHECK(one.size() <= expected.size() / 7 + 1);
      }
    }
  }
}

TEST_CASE("sequences of different lengths: every item once, and as much work for everyone",
          "[schedule]") {
  std::mt19937 random(7);
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  for (int trial = 0; trial < 8; ++trial) {
    const int sequences = 1 + 23 * trial % 71;
    std::vector<std::int32_t> q_offsets{0};
    std::vector<std::int32_t> k_offsets{0};
    for (int i = 0; i < sequences; ++i) {
      const int queries = below(i % 3 == 0 ? 2000 : 200);
      q_offsets.push_back(q_offsets.back() + queries);
      k_offsets.push_back(k_offsets.back() + queries + below(300) - (i % 5 == 0 ? queries / 2 : 0));
    }
    attention_params p{};
    p.q_offsets = {q_offsets.data(), 1, false};
    p.k_offsets = {k_offsets.data(), 1, false};
    p.q_rows = p.max_q = q_offsets.back();
    p.k_rows = p.max_k = k_offsets.back();
    p.packed = true;
    p.sequences = sequences;
    p.heads = 4;
    p.group = 1 << trial % 3;
    p.kv_heads = p.heads / p.group;
    p.decode_rows = trial % 2 == 0 ? 64 : 0;
    p.causal = trial % 4 != 3;
    p.window_left = trial % 4 == 2 ? 300 : seqmix::unbounded;
    p.window_right = seqmix::unbounded;
    launch_shape shape{};
    shape.shift = trial % 3;
    shape.heads = p.kv_heads;
    shape.from_first = trial % 5 == 1;

    std::vector<sequence_levels> kept(tiles::kept_sequences);
    const auto all = items_of(5, [&] { return ranked_schedule<tiles>(p, shape, kept.data()); });
    std::multiset<item> expected;
    for (int b = 0; b < sequences; ++b) {
      const int queries = q_offsets[b + 1] - q_offsets[b];
      const int rows = queries * p.group > p.decode_rows ? queries << shape.shift : 0;
      for (int row = 0; row < rows; row += 128) {
        for (int head = 0; head < shape.heads; ++head) {
          if (shape.from_first) {
            expected.emplace(b, head, row, std::min(rows, row + 128));
          } else {
            expected.emplace(b, head, std::max(0, rows - row - 128), rows - row);
          }
        }
      }
    }
    CAPTURE(trial, sequences);
    CHECK(together(all) == expected);

    // Tiles of keys of each block of threads: the longest item is all that they may differ by.
    double most = 0, total = 0, longest = 0;
    for (const auto& one : all) {
      double tiles_of_one = 0;
      for (const auto& [sequence, head, first_row, end_row] : one) {
        const sequence_place place = place_of(p, sequence);
        const tile_walk<128> walk(sequence_mask(p, place.queries, place.keys),
                                  first_row >> shape.shift, (end_row - 1) >> shape.shift);
        const double count = walk.end - walk.begin + walk.sink_end;
        tiles_of_one += count;
        longest = std::max(longest, count);
      }
      total += tiles_of_one;
      most = std::max(most, tiles_of_one);
    }
    CHECK(most <= total / 5 + longest);
  }
}
