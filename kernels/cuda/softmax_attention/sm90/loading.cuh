// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../common/tile.cuh"
#include "../../common/tma.cuh"
#include "../walk.cuh"
#include "config.cuh"
#include "schedule.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The tensors as the copy engine sees them.
struct tensor_maps {
  CUtensorMap q;
  CUtensorMap k;
  CUtensorMap v;
  CUtensorMap o;  ///< 16 rows at a time
  bool stores;    ///< the copy engine can write `o`
};

/// An item, where its sequence lies, and the tiles of keys that its rows see. Who finds it also
/// finds what all begin with.
template <int Keys>
struct located_item {
  static constexpr int most_warpgroups = 3;

  work_item item;
  sequence_place place;
  sequence_mask mask;
  tile_walk<Keys> walk;
  int first_token;
  int end_token;
  tile_run first;                // tiles
  int own_end[most_warpgroups];  // from this tile on a warpgroup's rows see nothing; -1: pass

  /// The whole block of rows, before its keys are known.
  __device__ __forceinline__ mask_block rows(const launch_shape& shape) const {
    return {item.sequence,
            item.head << shape.shift,
            (item.head + 1) << shape.shift,
            first_token,
            end_token,
            0,
            0,
            place.queries,
            place.keys};
  }
  /// Completes what the constructor does not know.
  template <class Score>
  __device__ __forceinline__ void find_tiles(const Score& score, const launch_shape& shape) {
    first = run_from(0, score, shape);
    if (!first.given()) {  // every item has a tile, be it one of which its rows see nothing
      first = {0, 1, false};
    }
    // A warpgroup without rows passes over an item's only tile. Of more it computes the first,
    // which keeps it in step with the others.
    const int without = run_from(first.tile + 1, score, shape).given() ? 0 : -1;
    for (int group = 0; group < most_warpgroups; ++group) {
      const int row = item.first_row + 64 * group;
      const int last = min(row + 64, item.end_row) - 1;
      const row_keys seen = mask.row(shape.token(last));
      own_end[group] = row <= last ? (max(seen.end, seen.sink_end) + Keys - 1) / Keys : without;
    }
  }
  /// The first tile from `tile` on in which a row sees a key, and those that follow it.
  template <class Score>
  __device__ __forceinline__ tile_run run_from(int tile, const Score& score,
                                               const launch_shape& shape) const {
    return cuda::run_from(walk, tile, score, rows(shape));
  }
  template <class Score>
  __device__ __forceinline__ void advance(tile_run& now, const Score& score,
                                          const launch_shape& shape) const {
    if (++now.tile >= now.end) {
      now = run_from(now.tile, score, shape);
    }
  }
};

/// The end of an item's tokens. False when its sequence has no such rows, or is for the decode
/// kernel.
template <class Config>
__device__ __forceinline__ bool find_rows(const attention_params& p, const launch_shape& shape,
                                          const work_item& item, const sequence_place& place,
                                          int& end_token) {
  end_token = shape.token(item.end_row - 1) + 1;
  const bool prefill = static_cast<std::int64_t>(place.queries) * p.group > p.decode_rows;
  return prefill && item.first_row < item.end_row;
}

/// The items on their way from the warp that finds them to all others, in shared memory.
template <class Config>
struct item_queue {
  using located = located_item<Config::block_keys>;
  hopper_layout<Config> at;
  located* slots;  // the first row of the last one is -1
  stage_cursor<Config::item_slots> cursor;

  /// The whole warp: hands over an item. It stays where it is until all others have had it and
  /// another one is pushed `item_slots` later.
  __device__ __forceinline__ void push(const located& x) {
    at.item_empty(cursor.stage).wait(cursor.parity ^ 1);
    if (threadIdx.x % 32 == 0) {
      slots[cursor.stage] = x;
      at.item_full(cursor.stage).arrive();
    }
    __syncwarp();
    cursor.advance();
  }
  /// The same, that there is none any more.
  __device__ __forceinline__ void push_end() {
    at.item_empty(cursor.stage).wait(cursor.parity ^ 1);
    if (threadIdx.x % 32 == 0) {
      slots[cursor.stage].item.first_row = -1;
      at.item_full(cursor.stage).arrive();
    }
  }
  static constexpr int end = -1;
  /// The slot of the next item, or `end`. The item stays until it is released.
  __device__ __forceinline__ int pop() {
    const int slot = cursor.stage;
    at.item_full(slot).wait(cursor.parity);
    cursor.advance();
    return uniform(slots[slot].item.first_row) < 0 ? end : slot;
  }
  /// The whole warp.
  __device__ __forceinline__ void release(int slot) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      at.item_empty(slot).arrive();
    }
  }
};

/// One warp: finds the items.
template <class Config, class Schedule, class Score>
__device__ __forceinline__ void find_items(const attention_params& p, const launch_shape& shape,
                                           const Score& score, Schedule schedule,
                                           item_queue<Config> items) {
#pragma unroll 1
  for (work_item item = schedule.next(); item.first_row >= 0; item = schedule.next()) {
    const sequence_place place = place_of(p, item.sequence);
    int end_token = 0;
    if (find_rows<Config>(p, shape, item, place, end_token)) {
      const int first_token = shape.token(item.first_row);
      const sequence_mask mask(p, place.queries, place.keys);
      located_item<Config::block_keys> found{
          item, place, mask, {mask, first_token, end_token - 1}, first_token, end_token, {}, {}};
      found.find_tiles(score, shape);
      items.push(found);
    }
  }
  items.push_end();
}

/// One thread's loads: queries, keys and values in the order in which they are used, which is that
/// in which their places become free. Values lag one tile behind keys, also from item to item.
template <class Config>
struct tile_loader {
  const launch_shape& shape;
  const tensor_maps& maps;
  hopper_layout<Config> at;

  stage_cursor<Config::q_stages> q;
  stage_cursor<Config::stages> k;
  stage_cursor<Config::stages> v;
  stage_cursor<Config::stages> check;
  /// A tile of keys or values.
  struct place {
    int first_key;  // in the tensor; -1 for none
    int head;
    int batch;
    bool whole;
  };
  place values = {-1, 0, 0, false};  // that are next

  __device__ __forceinline__ void load_queries(const located_item<Config::block_keys>& of) {
#pragma unroll 1
    for (int group = 0; group < Config::warpgroups; ++group) {
      const shared_barrier full = at.q_full(group, q.stage);
      at.q_empty(group, q.stage).wait(q.parity ^ 1);
      full.arrive_and_expect(Config::q_bytes);
#pragma unroll
      for (int block = 0; block < Config::key_blocks; ++block) {
        copy_box(at.q(group, q.stage) + block * Config::q_block_bytes, maps.q, full, 64 * block,
                 of.item.head << shape.shift,
                 static_cast<int>(of.place.q_begin) + shape.token(of.item.first_row + 64 * group),
                 static_cast<int>(of.place.batch));
      }
    }
    q.advance();
  }
  template <int Blocks>
  static __device__ __forceinline__ void copy_tile(std::uint32_t to, const CUtensorMap& from,
                                                   shared_barrier full, const place& tile) {
    full.arrive_and_expect(Blocks * Config::kv_block_bytes);
#pragma unroll
    for (int block = 0; block < Blocks; ++block) {
      copy_box(to + block * Config::kv_block_bytes, from, full, 64 * block, tile.head,
               tile.first_key, tile.batch);
    }
  }
  __device__ __forceinline__ void load_keys(const place& tile) {
    at.k_empty(k.stage).wait(k.parity ^ 1);
    copy_tile<Config::key_blocks>(at.k(k.stage), maps.k, at.k_full(k.stage), tile);
    k.advance();
  }
  /// Those that are next, of which it also says whether they are to be checked.
  __device__ __forceinline__ void load_values() {
    if (values.first_key < 0) {
      return;
    }
    at.v_empty(v.stage).wait(v.parity ^ 1);
    copy_tile<Config::value_blocks>(at.v(v.stage), maps.v, at.v_full(v.stage), values);
    if (!values.whole) {
      at.v_to_check(check.stage).arrive();
      check.advance();
    }
    v.advance();
  }

  template <class Score>
  __device__ __forceinline__ void load(const located_item<Config::block_keys>& of,
                                       const attention_params& p, const Score& score) {
    bool first = true;
#pragma unroll 1
    for (tile_run now = of.first; now.given(); of.advance(now, score, shape)) {
      const place tile{static_cast<int>(of.place.k_begin) + now.tile * Config::block_keys,
                       shape.head_of(of.item.head, 0) / p.group, static_cast<int>(of.place.batch),
                       now.whole};
      load_keys(tile);
      load_values();
      values = tile;
      if (first) {
        load_queries(of);
        first = false;
      }
    }
  }
};

/// One warp: loads all tensors' tiles.
template <class Config, class Score>
__device__ __forceinline__ void load_items(const attention_params& p, const launch_shape& shape,
                                           const Score& score, const tensor_maps& maps,
                                           item_queue<Config> items) {
  tile_loader<Config> loader{shape, maps, items.at, {}, {}, {}, {}};
#pragma unroll 1
  for (int slot = items.pop(); slot != items.end; slot = items.pop()) {
    if (threadIdx.x % 32 == 0) {
      loader.load(items.slots[slot], p, score);
    }
    items.release(slot);
  }
  if (threadIdx.x % 32 == 0) {
    loader.load_values();
  }
}

/// Warps that look for infinite and NaN values.
inline constexpr int checking_warps = 2;
inline constexpr int checking_threads = 32 * checking_warps;

/// Those warps, in tiles of which some row sees only a part: a weight of zero would make NaN of an
/// infinity or a NaN. Such a tile is on its way before they wait for it, and stays until it is
/// checked, so that the barriers' phases are those of the tile. `thread` counts their threads.
template <class Config, class Score>
__device__ __forceinline__ void check_values(const launch_shape& shape, const Score& score,
                                             item_queue<Config> items, int thread) {
  const hopper_layout<Config> at = items.at;
  stage_cursor<Config::stages> v;
  stage_cursor<Config::stages> check;
#pragma unroll 1
  for (int slot = items.pop(); slot != items.end; slot = items.pop()) {
    const auto* const of = items.slots + slot;
#pragma unroll 1
    for (tile_run now = of->first; now.given(); of->advance(now, score, shape), v.advance()) {
      if (now.whole) {
        continue;
      }
      at.v_to_check(check.stage).wait(check.parity);
      check.advance();
      at.v_full(v.stage).wait(v.parity);
      const bool found = __any_sync(
          0xffffffffu,
          any_nonfinite_of<typename Config::element, Config::v_bytes / 16, checking_threads>(
              at.v(v.stage), thread));
      if (thread % 32 == 0) {
        store_shared(at.v_nonfinite(v.stage) + 4 * static_cast<std::uint32_t>(thread / 32),
                     found ? 1u : 0u);
        at.v_checked(v.stage).arrive();
      }
    }
    items.release(slot);
  }
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
