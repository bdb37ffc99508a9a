// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../mask.cuh"
#include "../sequence.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

// Blocks of threads stay for the whole launch and take their items in turn: some rows of one head
// each, those that see the most keys first. Every other turn runs backwards, so that who had the
// longest item has the shortest next. Which block of threads computes an item moves no bit.
//
// Rows are cut from a sequence's last one on: where a causal mask makes rows see different numbers
// of keys, the block that is not full is the one that sees the fewest. With a mask functor they are
// cut from the first one on, since what such a mask says of blocks is often a grid's.

/// What a block of threads works on at a time: rows [first_row, end_row) of a head. `first_row` is
/// -1 when there is nothing any more.
struct work_item {
  int first_row;
  int end_row;
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
  bool from_first;  // rows are cut from the first one on

  __device__ __forceinline__ int token(int row) const { return row >> shift; }
  /// Block `back` of a sequence of so many rows, counted from its end.
  template <class Config>
  __device__ __forceinline__ work_item block(int rows, int back, int head, int sequence) const {
    constexpr int size = Config::block_rows;
    if (from_first) {
      const int first_row = ((rows - 1) / size - back) * size;
      return {first_row, min(rows, first_row + size), head, sequence};
    }
    const int end_row = rows - back * size;
    return {max(0, end_row - size), end_row, head, sequence};
  }
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
      return {-1, 0, 0, 0};
    }
    const auto row_blocks = static_cast<unsigned>(shape.row_blocks);
    const auto heads = static_cast<unsigned>(shape.heads);
    const auto width = static_cast<unsigned>(shape.section);
    const unsigned section = index / (width * row_blocks);
    const unsigned within = index - section * (width * row_blocks);
    const unsigned first = section * width;
    const unsigned here = min(width, heads * static_cast<unsigned>(p.sequences) - first);
    const unsigned stream = first + within % here;
    return shape.template block<Config>(
        static_cast<int>(p.max_q) << shape.shift, static_cast<int>(within / here),
        static_cast<int>(stream % heads), static_cast<int>(stream / heads));
  }
};

/// Row blocks of a sequence by their level, about how many tiles of keys they take, and at least
/// one: it rises with the rows, until they see the last key or as many as a window has.
struct sequence_levels {
  int blocks;   // of rows; 0 when the sequence has none here
  int highest;  // of the last rows
  int seen;     // keys up to the end of what the last token sees, if there were as many
  int rows;
};

/// Items of sequences of different lengths, which only the GPU knows: ranked by how many tiles of
/// keys they take, sequence by sequence where that is equal. The whole warp calls `next`, and finds
/// the rank's level by halves: each lane counts what every 32nd sequence has above a level, for
/// which the first `Config::kept_sequences` are looked up once only, and `kept`.
template <class Config>
struct ranked_schedule {
  const attention_params& p;
  const launch_shape& shape;
  sequence_levels* kept;
  unsigned round = 0;
  int level = 0;  // of this block's last item: later ones are not above it

  __device__ __forceinline__ ranked_schedule(const attention_params& params,
                                             const launch_shape& cut, sequence_levels* keep)
      : p(params), shape(cut), kept(keep) {
    const int sequences = min(p.sequences, Config::kept_sequences);
    for (int b = static_cast<int>(threadIdx.x) % 32; b < sequences; b += 32) {
      kept[b] = look_up(b);  // each lane only reads its own
    }
  }

  __device__ __forceinline__ work_item next() {
    const unsigned rank = item_number(round++);
    int low = 1;
    int high = level > 0 ? level : highest_level();
    if (rank >= above(0)) {
      return {-1, 0, 0, 0};
    }
    while (low < high) {
      const int middle = (low + high) / 2;
      if (rank < above(middle)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    level = low;
    return find(rank - above(level));
  }

 private:
  static constexpr int keys = Config::block_keys;

  __device__ __forceinline__ int tokens() const { return Config::block_rows >> shape.shift; }
  /// Whether rows see more keys from block to block; else all blocks are of the highest level.
  __device__ __forceinline__ bool rising() const { return p.causal || p.window_right != unbounded; }
  /// Blocks above `bound`, the last ones.
  __device__ __forceinline__ int above(const sequence_levels& l, int bound) const {
    if (bound == 0 || bound >= l.highest) {
      return bound == 0 ? l.blocks : 0;
    }
    return rising() ? min(max(l.seen - bound * keys + tokens() - 1, 0) / tokens(), l.blocks)
                    : l.blocks;
  }

  __device__ __forceinline__ sequence_levels levels_of(int sequence) const {
    return sequence < Config::kept_sequences ? kept[sequence] : look_up(sequence);
  }
  __device__ __forceinline__ sequence_levels look_up(int sequence) const {
    const sequence_place s = place_of(p, sequence);
    if (static_cast<std::int64_t>(s.queries) * p.group <= p.decode_rows) {
      return {0, 0, 0, 0};
    }
    sequence_levels l{(s.queries + tokens() - 1) / tokens(), max(1, (s.keys + keys - 1) / keys),
                      s.keys, s.queries << shape.shift};
    const int right = p.causal ? 0 : static_cast<int>(min(p.window_right, std::int64_t{s.queries}));
    if (rising()) {
      l.seen += right;
      if (p.window_left != unbounded) {
        const std::int64_t window = p.window_left + right + tokens() + p.sink_tokens;
        l.highest = static_cast<int>(min(std::int64_t{l.highest}, window / keys + 2));
      }
    }
    return l;
  }

  __device__ __forceinline__ int highest_level() const {
    int most = 1;
    for (int b = static_cast<int>(threadIdx.x) % 32; b < p.sequences; b += 32) {
      const sequence_levels l = levels_of(b);
      most = l.blocks > 0 ? max(most, l.highest) : most;
    }
    return __reduce_max_sync(0xffffffffu, most);
  }

  /// Items of all sequences above a level.
  __device__ __forceinline__ unsigned above(int bound) const {
    unsigned count = 0;
    for (int b = static_cast<int>(threadIdx.x) % 32; b < p.sequences; b += 32) {
      count += static_cast<unsigned>(above(levels_of(b), bound) * shape.heads);
    }
    return __reduce_add_sync(0xffffffffu, count);
  }

  /// Item `left` of this level.
  __device__ __forceinline__ work_item find(unsigned left) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int first = 0; first < p.sequences; first += 32) {
      const int b = first + lane;
      sequence_levels l{};
      int later = 0;  // blocks above this level
      unsigned mine = 0;
      if (b < p.sequences) {
        l = levels_of(b);
        later = above(l, level);
        mine = static_cast<unsigned>((above(l, level - 1) - later) * shape.heads);
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
        const auto heads = static_cast<unsigned>(shape.heads);
        const int back = later + static_cast<int>(within / heads);
        const int head = static_cast<int>(within % heads);
        return shape.template block<Config>(__shfl_sync(0xffffffffu, l.rows, owner),
                                            __shfl_sync(0xffffffffu, back, owner),
                                            __shfl_sync(0xffffffffu, head, owner), first + owner);
      }
      left -= __shfl_sync(0xffffffffu, through, 31);
    }
    return {-1, 0, 0, 0};
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
