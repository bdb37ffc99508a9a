// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../tile_scores.cuh"
#include "loading.cuh"
#include "warpgroup_attention.cuh"
#include "writing.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The part of the kernel that computes: one warpgroup.
template <class Config, class Score>
struct computing_warpgroup {
  using T = typename Config::element;
  using layout = hopper_layout<Config>;
  using row_sums = typename warpgroup_attention<Config>::row_sums;
  static constexpr int tile_keys = Config::block_keys;

  const attention_params& p;
  const launch_shape& shape;
  const Score& score;
  layout at;
  int number;  // of the warpgroup, uniform
  item_queue<Config> items;
  // The slot of the item whose scores are computed, which stays in shared memory: seldom needed,
  // and too much for registers. Its values may be those of the item before it still.
  int current;

  warpgroup_attention<Config> w;
  stage_cursor<Config::q_stages> q;
  stage_cursor<Config::stages> k;
  stage_cursor<Config::stages> v;
  std::uint32_t checked = 0;  // for each stage the parity of its next check

  // Derived anew wherever they are needed, so that they take no registers in the main loop.
  static __device__ __forceinline__ int thread() {
    return rederived(static_cast<int>(threadIdx.x));
  }
  static __device__ __forceinline__ int lane() { return thread() % 32; }
  /// The first of this warp's rows among the block's.
  static __device__ __forceinline__ int warp_row() { return (thread() - 128) / 32 * 16; }

  /// The warpgroups' turns at the tensor cores.
  __device__ __forceinline__ void await_turn() const {
    if constexpr (Config::ordered) {
      named_sync(block_barriers::turn + number, 256);
    }
  }
  __device__ __forceinline__ void end_turn() const {
    if constexpr (Config::ordered) {
      named_arrive(block_barriers::turn + (number + 1) % Config::warpgroups, 256);
    }
  }
  __device__ __forceinline__ void release(shared_barrier empty) const {
    __syncwarp();
    if (lane() == 0) {
      empty.arrive();
    }
  }

  __device__ __forceinline__ const located_item<tile_keys>* of() const {
    return items.slots + current;
  }
  /// The first of this thread's two rows of an item.
  static __device__ __forceinline__ int lane_row(const located_item<tile_keys>* of) {
    return of->item.first_row + warp_row() + (lane() >> 2);
  }
  /// What rows make of their scores: those of thread and tile, as `tile_scores` wants them.
  __device__ __forceinline__ auto scores_of_rows() const {
    const auto* located = of();
    const launch_shape* cut = &shape;
    const int first_row = lane_row(located);
    return tile_scores{p, score, of()->mask, [located, cut, first_row](int, int h) {
                         const int row = first_row + 8 * h;
                         return score_row{located->item.sequence,
                                          cut->head_of(located->item.head, row), cut->token(row),
                                          located->place.queries, located->place.keys};
                       }};
  }
  static __device__ __forceinline__ tile_run uniform_run(tile_run x) {
    return {uniform(x.tile), uniform(x.end), uniform(x.whole) != 0};
  }
  __device__ __forceinline__ tile_run run_from(int tile) const {
    return uniform_run(of()->run_from(tile, score, shape));
  }
  /// From this tile on this warpgroup's rows of the current item see nothing any more.
  __device__ __forceinline__ int own_end() const {
    const int row = of()->item.first_row + 64 * number;
    const int last = min(row + 64, of()->item.end_row) - 1;
    int end = 0;
    if (row <= last) {
      const row_keys seen = of()->mask.row(shape.token(last));
      end = max(seen.end, seen.sink_end);
    }
    return uniform((end + tile_keys - 1) / tile_keys);
  }
  /// The current item's first tile, of those that this warpgroup's rows see, but at least one.
  __device__ __forceinline__ tile_run first_tile() const {
    tile_run first = uniform_run(of()->first_run(score, shape));
    first.end = min(first.end, max(first.tile + 1, own_end()));
    return first;
  }
  /// To the next tile that this warpgroup's rows see. False: there is none; then `now` are the
  /// tiles that only other warpgroups need.
  __device__ __forceinline__ bool advance(tile_run& now) const {
    if (++now.tile < now.end) {
      return true;
    }
    now = run_from(now.tile);
    const int end = own_end();
    if (now.tile >= end) {
      return false;
    }
    now.end = min(now.end, end);
    return true;
  }

  /// Scores of a tile from the raw products on.
  __device__ __forceinline__ void finish_scores(tile_run now) {
    const int first_key = now.tile * tile_keys;
    if constexpr (!Score::plain) {
      scores_of_rows().change(w, first_key, lane());
    }
    if (!now.whole) {
      scores_of_rows().hide(w, first_key, lane());
    }
  }

  /// The values of the tile before are about to be used, of which some row sees a part only:
  /// infinities and NaNs among them go to the rows that see them, and are zero afterwards. All
  /// computing warpgroups take part.
  __device__ __forceinline__ void contain_nonfinite(tile_run now) {
    at.v_checked(v.stage).wait((checked >> v.stage) & 1);
    checked ^= 1u << v.stage;
    const uint4 found = load_shared_16(at.v_nonfinite(v.stage));
    if ((found.x | found.y | found.z) == 0) {
      return;
    }
    at.v_full(v.stage).wait(v.parity);
    add_nonfinite(now.tile * tile_keys);
    named_sync(block_barriers::computing, Config::computing_threads);
    for (std::uint32_t chunk = threadIdx.x - 128; chunk < Config::v_bytes / 16;
         chunk += Config::computing_threads) {
      const std::uint32_t where = at.v(v.stage) + 16 * chunk;
      const uint4 value = load_shared_16(where);
      if (any_nonfinite<T>(value)) {
        store_shared(where, make_uint4(finite_only<T>(value.x), finite_only<T>(value.y),
                                       finite_only<T>(value.z), finite_only<T>(value.w)));
      }
    }
    fence_async_proxy();
    named_sync(block_barriers::computing, Config::computing_threads);
  }

  /// At weight one: any positive weight gives the same.
  __device__ __forceinline__ void add_nonfinite(int first_key) {
    using core = tensor_core<T>;
    const auto scores = scores_of_rows();
#pragma unroll 1
    for (int key = 0; key < tile_keys; ++key) {
      const bool seen[] = {scores.sees(0, 0, first_key + key), scores.sees(0, 1, first_key + key)};
      const std::uint32_t row = at.v(v.stage) + key * 128 + 4 * (lane() & 3);
#pragma unroll
      for (int j = 0; j < Config::value_dim / 8; ++j) {
        const std::uint32_t pair =
            load_shared_4(row + j / 8 * Config::kv_block_bytes +
                          static_cast<std::uint32_t>(((j % 8) ^ (key & 7)) << 4));
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          const std::uint32_t bits = (pair >> (16 * x)) & 0xffffu;
          const float value = (bits & core::exponent) == core::exponent ? core::unpack(bits) : 0;
          w.o[4 * j + x] += seen[0] ? value : 0;
          w.o[4 * j + 2 + x] += seen[1] ? value : 0;
        }
      }
    }
  }

  /// Multiplies this warpgroup's queries by 1, -1 or 0, exactly.
  __device__ __forceinline__ void scale_queries() {
    using core = tensor_core<T>;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x) % 128; i < Config::key_blocks * 64 * 32; i += 128) {
      const std::uint32_t where = q_rows() + i / 2048 * Config::q_block_bytes + i % 2048 * 4;
      const std::uint32_t pair = load_shared_4(where);
      store_shared(where, core::pack(core::unpack(pair & 0xffffu) * p.query_factor,
                                     core::unpack(pair >> 16) * p.query_factor));
    }
    fence_async_proxy();
    sync_own();
  }

  __device__ __forceinline__ std::uint32_t q_rows() const { return at.q(number, q.stage); }

  __device__ __forceinline__ void await_queries() {
    at.q_full(number, q.stage).wait(q.parity);
    if (p.query_factor != 1) {
      scale_queries();
    }
  }
  __device__ __forceinline__ void release_keys() {
    release(at.k_empty(k.stage));
    k.advance();
  }
  __device__ __forceinline__ void release_values() {
    release(at.v_empty(v.stage));
    v.advance();
  }

  /// The first weights of an item whose scores could not be begun under the values of another one.
  __device__ __forceinline__ tile_run begin_alone(float factor) {
    await_queries();
    at.k_full(k.stage).wait(k.parity);
    w.begin_scores(q_rows(), at.k(k.stage));
    w.clear_values();
    w.rows_of = {};
    const tile_run first = first_tile();
    w.template await_scores<0>();
    release_keys();
    finish_scores(first);
    w.weigh(factor);
    w.pack_weights();
    return first;
  }

  /// The last values of an item, and the tiles from `left` on, which other warpgroups need. The
  /// turn that those take for their last values comes behind the tiles: for each tile, and what all
  /// do with it together, everyone has had as many.
  __device__ __forceinline__ void end_alone(tile_run left) {
    at.v_full(v.stage).wait(v.parity);
    w.begin_values(at.v(v.stage));
    w.template await_values<0>();
    release_values();
    pass_tiles(left);
    await_turn();
    end_turn();
    write_item(current, w.rows_of);
    items.release(current);
  }

  // In shared memory, for which registers are too few.
  __device__ __forceinline__ void put_sums_aside() {
    store_shared(
        at.sums(thread() - 128),
        make_uint4(__float_as_uint(w.rows_of.reference[0]), __float_as_uint(w.rows_of.reference[1]),
                   __float_as_uint(w.rows_of.sum[0]), __float_as_uint(w.rows_of.sum[1])));
    w.rows_of = {};
  }
  __device__ __forceinline__ row_sums sums_aside() const {
    const uint4 x = load_shared_16(at.sums(thread() - 128));
    return {{__uint_as_float(x.x), __uint_as_float(x.y)},
            {__uint_as_float(x.z), __uint_as_float(x.w)}};
  }

  /// Items that follow one another without a gap, the first of them the current one: the scores of
  /// a tile are begun before the values of the one before it are added, so that its softmax runs
  /// under the latter, and so it is with the first scores of the next item, where its queries have
  /// a place beside this one's. Ends with an item's last weights, and returns the tiles that are
  /// left of it; or with no item, when there is none any more.
  __device__ __forceinline__ tile_run walk_items(float factor) {
    tile_run now = begin_alone(factor);
#pragma unroll 1
    while (true) {
      if (!now.whole) {
        contain_nonfinite(now);
      }
      const bool ends = !advance(now);
      const int before = current;
      if (ends) {
        release(at.q_empty(number, q.stage));
        q.advance();
        if (Config::q_stages == 1 || now.given()) {
          return now;
        }
        current = items.pop();
        if (current != items.end) {
          await_queries();
        }
      }
      await_turn();
      if (current != items.end) {
        at.k_full(k.stage).wait(k.parity);
      }
      // Without a next item these are scores of what lies there, and never used: on a path without
      // them ptxas would have every product wait for the one before.
      w.begin_scores(q_rows(), at.k(k.stage));
      at.v_full(v.stage).wait(v.parity);
      w.begin_values(at.v(v.stage));
      end_turn();
      w.template await_scores<1>();
      if (ends) {
        put_sums_aside();
      }
      if (current != items.end) {
        release_keys();
        if (ends) {
          now = first_tile();
        }
        finish_scores(now);
      }
      const float2 shrink = w.weigh(factor);
      w.weights_before_values(at.v_nonfinite(0));
      w.template await_values<0>();
      release_values();
      if (ends) {
        write_item(before, sums_aside());
        items.release(before);
        if (current == items.end) {
          return now;
        }
        w.clear_values();
      } else {
        w.shrink_values(shrink);
      }
      w.pack_weights();
    }
  }

  /// Takes part in what all do with tiles that only other warpgroups need.
  __device__ __forceinline__ void pass_tiles(tile_run now) {
#pragma unroll 1
    while (now.given()) {
      await_turn();
      end_turn();
      at.k_full(k.stage).wait(k.parity);
      release(at.k_empty(k.stage));
      k.advance();
      if (!now.whole) {
        contain_nonfinite(now);
      }
      at.v_full(v.stage).wait(v.parity);
      release_values();
      if (++now.tile >= now.end) {
        now = run_from(now.tile);
      }
    }
  }

  __device__ __forceinline__ void write_item(int slot, const row_sums& sums) const {
    const auto* const located = items.slots + slot;
    const sequence_place place = located->place;
    const int end_row = located->item.end_row;
    const int first_row = lane_row(located);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first_row + 8 * h;
      const int token = shape.token(row);
      const int head = shape.head_of(located->item.head, row);
      const bool exists = row < end_row;
      const row_result result = row_result::of(sums.reference[h], w.sum_of_lanes(sums.sum[h]),
                                               score_factor<Score>(p), sink_of(p, head));
      if (p.lse != nullptr && (lane() & 3) == 0 && exists) {
        write_lse(p, place, head, token, result.lse);
      }
      T* const out = static_cast<T*>(p.o) + place.batch * p.o_strides[0] +
                     (place.q_begin + token) * p.o_strides[1] + head * p.o_strides[2];
      write_row<Config>(p, exists ? out : nullptr, lane(), h, w.o, result);
    }
  }

  __device__ __forceinline__ void run() {
    if constexpr (Config::ordered) {
      if (number == Config::warpgroups - 1) {
        end_turn();  // the first turn is the first one's
      }
    }
    const float factor = score_factor<Score>(p);
    current = items.pop();
#pragma unroll 1
    while (current != items.end) {
      const tile_run left = walk_items(factor);
      if (current != items.end) {
        end_alone(left);
        current = items.pop();
      }
    }
    products_wait<0>();
  }

 private:
  __device__ __forceinline__ void sync_own() const {
    named_sync(block_barriers::own + number, 128);
  }
};

/// Softmax attention of many query rows on sm_90a. Blocks of threads stay for the whole launch. A
/// file that is compiled for other architectures, too, has an empty kernel for those.
template <class Config, class Score>
__global__ void __launch_bounds__(Config::threads, 1)
    hopper_prefill_kernel(const __grid_constant__ attention_params p,
                          const __grid_constant__ launch_shape shape,
                          const __grid_constant__ tensor_maps maps,
                          const __grid_constant__ Score score) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ unsigned char shared_memory[];
  using located = located_item<Config::block_keys>;
  __shared__ __align__(alignof(located)) unsigned char slots[Config::item_slots * sizeof(located)];
  const auto at = hopper_layout<Config>::at(shared_address(shared_memory));
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    constexpr int warps = 4 * Config::warpgroups;
    for (int tile = 0; tile < Config::warpgroups * Config::q_stages; ++tile) {
      at.q_full(0, tile).init(1);
      at.q_empty(0, tile).init(4);
    }
    for (int slot = 0; slot < Config::item_slots; ++slot) {
      at.item_full(slot).init(1);
      at.item_empty(slot).init(warps + checking_warps);
    }
    for (int stage = 0; stage < Config::stages; ++stage) {
      at.k_full(stage).init(1);
      at.v_full(stage).init(1);
      at.k_empty(stage).init(warps);
      at.v_empty(stage).init(warps);
      at.v_checked(stage).init(checking_warps);
    }
    publish_barriers();
  }
  __syncthreads();

  const item_queue<Config> items{at, reinterpret_cast<located*>(slots), {}};
  if (thread < 128) {
    give_registers<Config::loading_registers>();
    if (thread >= 32) {
      load_values<Config>(p, shape, score, maps, items, thread - 32);
    } else if (p.packed || p.k_lengths.data != nullptr) {
      load_queries_and_keys<Config>(p, shape, score, ranked_schedule<Config>{p, shape}, maps,
                                    items);
    } else {
      load_queries_and_keys<Config>(p, shape, score, even_schedule<Config>{p, shape}, maps, items);
    }
  } else {
    take_registers<Config::computing_registers>();
    computing_warpgroup<Config, Score> compute{p,    shape, score, at, uniform(thread / 128 - 1),
                                               items};
    compute.run();
  }
#endif
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
