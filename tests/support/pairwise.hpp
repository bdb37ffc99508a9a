// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor.hpp"

namespace seqmix_test {

/// A test plan: one level per factor and row.
using test_plan = std::vector<std::vector<int>>;

/// Every pair of levels of two factors, and whether a row has it.
class pair_table {
 public:
  explicit pair_table(const std::vector<int>& levels) : levels_(levels) {
    start_.resize(levels.size());
    for (std::size_t f = 0; f < levels.size(); ++f) {
      start_[f] = total_;
      total_ += static_cast<std::size_t>(levels[f]);
    }
    open_.assign(total_ * total_, false);
    for (std::size_t f = 0; f < levels.size(); ++f) {
      for (std::size_t g = f + 1; g < levels.size(); ++g) {
        for (int x = 0; x < levels[f]; ++x) {
          for (int y = 0; y < levels[g]; ++y) {
            open_[at(f, x, g, y)] = true;
            open_pairs_.push_back({f, g, x, y});
          }
        }
      }
    }
  }

  struct pair {
    std::size_t f, g;
    int x, y;
  };

  bool open(std::size_t f, int x, std::size_t g, int y) const {
    return open_[f < g ? at(f, x, g, y) : at(g, y, f, x)];
  }
  void close(const std::vector<int>& row) {
    for (std::size_t f = 0; f < row.size(); ++f) {
      for (std::size_t g = f + 1; g < row.size(); ++g) {
        open_[at(f, row[f], g, row[g])] = false;
      }
    }
    std::erase_if(open_pairs_, [&](const pair& p) { return !open_[at(p.f, p.x, p.g, p.y)]; });
  }
  const std::vector<pair>& open_pairs() const noexcept { return open_pairs_; }

 private:
  std::size_t at(std::size_t f, int x, std::size_t g, int y) const {
    return (start_[f] + static_cast<std::size_t>(x)) * total_ + start_[g] +
           static_cast<std::size_t>(y);
  }

  std::vector<int> levels_;
  std::vector<std::size_t> start_;
  std::size_t total_ = 0;
  std::vector<bool> open_;
  std::vector<pair> open_pairs_;
};

/// A covering array of strength two: every pair of levels of any two factors stands in some row.
/// Greedy, the best of several random candidates a row; the same plan for the same seed.
inline test_plan pairwise_plan(const std::vector<int>& levels, std::uint64_t seed) {
  pair_table table(levels);
  const auto below = [&](std::size_t n) {
    seed = mix(seed);
    return static_cast<std::size_t>(seed % n);
  };
  test_plan plan;
  while (!table.open_pairs().empty()) {
    std::vector<int> best;
    std::size_t best_gain = 0;
    for (int candidate = 0; candidate < 12; ++candidate) {
      std::vector<int> row(levels.size(), -1);
      const auto first = table.open_pairs()[below(table.open_pairs().size())];
      row[first.f] = first.x;
      row[first.g] = first.y;
      std::vector<std::size_t> order;
      for (std::size_t f = 0; f < levels.size(); ++f) {
        if (row[f] < 0) {
          order.push_back(f);
        }
      }
      for (std::size_t i = order.size(); i > 1; --i) {
        std::swap(order[i - 1], order[below(i)]);
      }
      std::size_t gain = 1;
      for (const std::size_t f : order) {
        std::size_t most = 0;
        int chosen = 0;
        const int shift = static_cast<int>(below(static_cast<std::size_t>(levels[f])));
        for (int k = 0; k < levels[f]; ++k) {
          const int level = (k + shift) % levels[f];
          std::size_t fresh = 0;
          for (std::size_t g = 0; g < levels.size(); ++g) {
            fresh += row[g] >= 0 && g != f && table.open(f, level, g, row[g]) ? 1 : 0;
          }
          if (k == 0 || fresh > most) {
            most = fresh;
            chosen = level;
          }
        }
        row[f] = chosen;
        gain += most;
      }
      if (gain > best_gain) {
        best_gain = gain;
        best = row;
      }
    }
    table.close(best);
    plan.push_back(std::move(best));
  }
  return plan;
}

/// Every combination of levels.
inline test_plan full_plan(const std::vector<int>& levels) {
  test_plan plan;
  std::vector<int> row(levels.size(), 0);
  while (true) {
    plan.push_back(row);
    std::size_t f = levels.size();
    while (f-- > 0) {
      if (++row[f] < levels[f]) {
        break;
      }
      row[f] = 0;
      if (f == 0) {
        return plan;
      }
    }
  }
}

}  // namespace seqmix_test
