// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../mask.cuh"
#include "../sequence.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

// Blocks of threads stay for the whole launch and take their items in turn: some rows of one head
// each, those that see the most keys first. Every other turn runs backwards, so that who had the
// longest item has the shortest next. Which block of threads computes an item moves no bit.

/// What a block of threads works on at a time. `first_row` is -1 when there is nothing any more.
struct work_item {
  int first_row;
  int head;
  int sequence;
};

/// The number of a block's item in turn `round`.
__device__ __forceinline__ unsigned item_number(unsigned round) {
  return round * gridDim.x + ((round & 1) != 0 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}

/// How a launch is cut. The query heads of a group lie side by side when there are 2^shift of them:
/// row r is token r >> shift of the group's head r % 2^shift. Then a "head" here is a key-value
/// head, and a block of rows spans few tokens, which all read the same keys.
struct launch_shape {
  std::int32_t shift;
  std::int32_t heads;
  // Of sequences that are all of one length, whose items come in sections of some heads (those of
  // all sequences, counted through), and in each the last rows of all heads first.
  std::int32_t items;
  std::int32_t row_blocks;
  std::int32_t section;

  __device__ __forceinline__ int token(int row) const { return row >> shift; }
  /// Row r's query head.
  __device__ __forceinline__ int head_of(int head, int row) const {
    return (head << shift) + (row & ((1 << shift) - 1));
  }
};

/// Items of sequences of one length. The whole warp calls `next`.
template <class Config>
struct even_schedule {
  const attention_params& p;
  const launch_shape& shape;
  unsigned round = 0;

  __device__ __forceinline__ work_item next() {
    const auto items = static_cast<unsigned>(shape.items);
    const unsigned index = item_number(round++);
    if (index >= items) {
      return {-1, 0, 0};
    }
    const auto row_blocks = static_cast<unsigned>(shape.row_blocks);
    const auto heads = static_cast<unsigned>(shape.heads);
    const auto width = static_cast<unsigned>(shape.section);
    const unsigned section = index / (width * row_blocks);
    const unsigned within = index - section * (width * row_blocks);
    const unsigned first = section * width;
    const unsigned here = min(width, heads * static_cast<unsigned>(p.sequences) - first);
    const unsigned stream = first + within % here;
    return {static_cast<int>((row_blocks - 1 - within / here) * Config::block_rows),
            static_cast<int>(stream % heads), static_cast<int>(stream / heads)};
  }
};

/// Items of sequences of different lengths, which only the GPU knows: ranked by how many tiles of
/// keys they take, sequence by sequence where that is equal. The whole warp calls `next`, and finds
/// the rank by counting: each lane looks at every 32nd sequence.
template <class Config>
struct ranked_schedule {
  const attention_params& p;
  const launch_shape& shape;
  unsigned round = 0;
  unsigned before = 0;  // items of higher levels
  unsigned here = 0;    // items of this level
  int level = 0x7fffffff;

  __device__ __forceinline__ work_item next() {
    const unsigned rank = item_number(round++);
    while (rank >= before + here) {
      before += here;
      level = lower_level();
      if (level == 0) {
        return {-1, 0, 0};
      }
      here = count_level();
    }
    return find(rank - before);
  }

 private:
  static constexpr int keys = Config::block_keys;

  /// Row blocks of a sequence by their level, about how many tiles of keys they take, and at least
  /// one: it rises with the rows, until they see the last key or as many as a window has.
  struct levels {
    int blocks;   // of rows; 0 when the sequence has none here
    int highest;  // of the last rows
    int lead;     // keys that the first token sees beside its own
  };

  __device__ __forceinline__ int tokens() const { return Config::block_rows >> shape.shift; }
  /// Whether rows see more keys from block to block; else all blocks are of the highest level.
  __device__ __forceinline__ bool rising() const { return p.causal || p.window_right != unbounded; }
  /// Blocks whose level is at most `bound`.
  __device__ __forceinline__ int up_to(const levels& l, int bound) const {
    if (bound == 0 || bound >= l.highest) {
      return bound == 0 ? 0 : l.blocks;
    }
    return rising() ? min(max(bound * keys - l.lead, 0) / tokens(), l.blocks) : 0;
  }
  /// A sequence's items of this level.
  __device__ __forceinline__ unsigned items_of(const levels& l) const {
    return static_cast<unsigned>((up_to(l, level) - up_to(l, level - 1)) * shape.heads);
  }

  __device__ __forceinline__ levels levels_of(int sequence) const {
    const sequence_place s = place_of(p, sequence);
    if (static_cast<std::int64_t>(s.queries) * p.group <= p.decode_rows) {
      return {0, 0, 0};
    }
    levels l{(s.queries + tokens() - 1) / tokens(), max(1, (s.keys + keys - 1) / keys),
             s.keys - s.queries};
    const int right = p.causal ? 0 : static_cast<int>(min(p.window_right, std::int64_t{s.queries}));
    if (rising()) {
      l.lead += right;
      if (p.window_left != unbounded) {
        const std::int64_t window = p.window_left + right + tokens() + p.sink_tokens;
        l.highest = static_cast<int>(min(std::int64_t{l.highest}, window / keys + 2));
      }
    }
    return l;
  }

  /// The highest level below this one that has items; 0: there is none.
  __device__ __forceinline__ int lower_level() const {
    int most = 0;
    for (int b = static_cast<int>(threadIdx.x) % 32; b < p.sequences; b += 32) {
      const levels l = levels_of(b);
      const int candidate = min(l.highest, level - 1);
      const int lowest =
          rising() ? max(1, min(l.highest, (l.lead + tokens() + keys - 1) / keys)) : l.highest;
      if (l.blocks > 0 && candidate >= lowest) {
        most = max(most, candidate);
      }
    }
    return __reduce_max_sync(0xffffffffu, most);
  }

  __device__ __forceinline__ unsigned count_level() const {
    unsigned count = 0;
    for (int b = static_cast<int>(threadIdx.x) % 32; b < p.sequences; b += 32) {
      count += items_of(levels_of(b));
    }
    return __reduce_add_sync(0xffffffffu, count);
  }

  /// Item `left` of this level.
  __device__ __forceinline__ work_item find(unsigned left) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int first = 0; first < p.sequences; first += 32) {
      const int b = first + lane;
      levels l{};
      unsigned mine = 0;
      if (b < p.sequences) {
        l = levels_of(b);
        mine = items_of(l);
      }
      unsigned through = mine;  // items of this lane's sequence and those before it
#pragma unroll
      for (int distance = 1; distance < 32; distance *= 2) {
        const unsigned other = __shfl_up_sync(0xffffffffu, through, distance);
        through += lane >= distance ? other : 0;
      }
      const unsigned found = __ballot_sync(0xffffffffu, left < through);
      if (found != 0) {
        const int owner = __ffs(static_cast<int>(found)) - 1;
        const unsigned within = left - (through - mine);
        const int block =
            up_to(l, level - 1) + static_cast<int>(within / static_cast<unsigned>(shape.heads));
        const int head = static_cast<int>(within % static_cast<unsigned>(shape.heads));
        return {__shfl_sync(0xffffffffu, block, owner) * Config::block_rows,
                __shfl_sync(0xffffffffu, head, owner), first + owner};
      }
      left -= __shfl_sync(0xffffffffu, through, 31);
    }
    return {-1, 0, 0};
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
