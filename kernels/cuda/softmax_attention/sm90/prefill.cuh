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
  static constexpr int tile_keys = Config::block_keys;

  const attention_params& p;
  const launch_shape& shape;
  const Score& score;
  layout at;
  int number;  // of the warpgroup, uniform
  item_queue<Config> items;
  // Slots of items, which stay in shared memory: seldom needed, and too much for registers.
  int current;
  int next;  // after that

  warpgroup_attention<Config> w;
  stage_cursor<Config::q_stages> q;
  stage_cursor<Config::stages> k;
  stage_cursor<Config::stages> v;
  std::uint32_t checked = 0;  // for each stage the parity of its next check
  // ALiBi's slopes of this thread's rows, where registers are to spare.
  static constexpr bool keeps_slopes = !Score::plain && Config::warpgroups < 3;
  float slopes[2] = {0, 0};
  // With a softcap alone: the raw products of which the references were made.
  float raw_reference[2];

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
  /// The first of this thread's two rows.
  __device__ __forceinline__ int lane_row() const {
    return of()->item.first_row + warp_row() + (lane() >> 2);
  }
  /// This thread's two rows.
  __device__ __forceinline__ score_row score_row_of(int h) const {
    const auto* located = of();
    const int row = lane_row() + 8 * h;
    return {located->item.sequence, shape.head_of(located->item.head, row),
            shape.token(row),       located->place.queries,
            located->place.keys,    keeps_slopes ? slopes[h] : slope_at(row)};
  }
  /// What rows make of their scores, as `tile_scores` wants it.
  __device__ __forceinline__ auto scores_of_rows() const {
    const auto rows = [this](int, int h) { return score_row_of(h); };
    return tile_scores{p, score, of()->mask, rows};
  }
  /// The same, looked up here and now where registers are to spare.
  __device__ __forceinline__ auto prepared_scores() const {
    if constexpr (keeps_slopes) {
      const auto rows = [at = two_rows{score_row_of(0), score_row_of(1)}](int, int h) {
        return at.row[h];
      };
      return tile_scores{p, score, of()->mask, rows};
    } else {
      return scores_of_rows();
    }
  }
  struct two_rows {
    score_row row[2];
  };
  __device__ __forceinline__ float slope_at(int row) const {
    return slope_of(p, shape.head_of(of()->item.head, row));
  }
  static __device__ __forceinline__ tile_run uniform_run(tile_run x) {
    return {uniform(x.tile), uniform(x.end), uniform(x.whole) != 0};
  }
  /// The run of the first tile, from `now` on, in which a row of the block sees a key.
  __device__ __forceinline__ tile_run seen_from(tile_run now) const {
    return now.tile < now.end ? now : uniform_run(of()->run_from(now.tile, score, shape));
  }

  /// The weights of a tile from the raw products on, for which it waits; `await_values` as
  /// `weigh` has it.
  template <int Pending, class Await>
  __device__ __forceinline__ float2 weigh_tile(tile_run now, float factor, Await&& await_values) {
    const auto scores = prepared_scores();
    w.template await_scores<Pending>();
    release(at.k_empty(k.stage));
    k.advance();
    if constexpr (!Score::plain) {
      if (score.capped(p)) {
        return weigh_capped(now, await_values);
      }
      scores.change(w, now.tile * tile_keys, lane());
    }
    hide(now);
    float most[2];
    w.largest(most);
    const auto exponent = [factor](int, float x, float offset) { return fmaf(x, factor, -offset); };
    return w.weigh(most, factor, exponent, at.v_nonfinite(0), await_values);
  }
  /// What rows do not see of a tile.
  __device__ __forceinline__ void hide(tile_run now) {
    if (!now.whole) {
      scores_of_rows().hide(w, now.tile * tile_keys, lane());
    }
  }
  /// The same with a softcap alone. That never falls, so that the largest raw product makes the
  /// largest score, and is capped only where it may move the reference: it rises by no more than
  /// raw products do. The others are capped under the exponentials, by the polynomial where those
  /// that this thread has of the row are small: a row's bits depend on its own scores alone.
  template <class Await>
  __device__ __forceinline__ float2 weigh_capped(tile_run now, Await&& await_values) {
    const softcap_curve& curve = p.softcap;
    float below[2];
    if (now.whole) {
      below[0] = w.furthest_below(0);
      below[1] = w.furthest_below(1);
    } else {
      w.bound_below();  // minus infinity is for what is hidden
      hide(now);
      below[0] = w.furthest_seen_below(0);
      below[1] = w.furthest_seen_below(1);
    }
    float raw[2];
    w.largest(raw);
    const bool near[2] = {below[0] <= curve.near && raw[0] <= curve.near,
                          below[1] <= curve.near && raw[1] <= curve.near};
    const auto exponent_of = [&](bool near_row, float x, float offset) {
      const float y = near_row || fabsf(x) <= curve.always ? near_cap{curve}(x, offset)
                                                           : far_cap{curve}(x, offset);
      return x == w.hidden && !now.whole ? x : y;
    };
    // Also where both are minus infinity.
    const bool moves[2] = {!((raw[0] - raw_reference[0]) * p.scale_log2 <= w.slack),
                           !((raw[1] - raw_reference[1]) * p.scale_log2 <= w.slack)};
    constexpr unsigned one_moves = 1, one_near = 2, one_far = 4;
    const unsigned found = __reduce_or_sync(0xffffffffu, (moves[0] || moves[1] ? one_moves : 0) |
                                                             (near[0] || near[1] ? one_near : 0) |
                                                             (near[0] && near[1] ? 0 : one_far));
    const float before[2] = {w.reference[0], w.reference[1]};
    float most[2] = {before[0], before[1]};
    if ((found & one_moves) != 0) {
      most[0] = moves[0] ? exponent_of(near[0], raw[0], 0) : most[0];
      most[1] = moves[1] ? exponent_of(near[1], raw[1], 0) : most[1];
    }
    const std::uint32_t shared = at.v_nonfinite(0);
    float2 shrink;
    if ((found & one_far) == 0 && (now.whole || curve.terms[2] > 0)) {
      const auto exponent = [&](int, float x, float offset) { return near_cap{curve}(x, offset); };
      shrink = w.weigh(most, 1, exponent, shared, await_values);
    } else if ((found & one_near) == 0 && now.whole && curve.always < 0) {
      const auto exponent = [&](int, float x, float offset) { return far_cap{curve}(x, offset); };
      shrink = w.weigh(most, 1, exponent, shared, await_values);
    } else {
      const auto exponent = [&](int h, float x, float offset) {
        return exponent_of(near[h], x, offset);
      };
      shrink = w.weigh(most, 1, exponent, shared, await_values);
    }
    raw_reference[0] = w.reference[0] != before[0] ? raw[0] : raw_reference[0];
    raw_reference[1] = w.reference[1] != before[1] ? raw[1] : raw_reference[1];
    return shrink;
  }

  /// The values of the tile before are about to be used, of which some row sees a part only:
  /// infinities and NaNs among them go to the rows that see them, and are zero afterwards. All
  /// computing warpgroups take part.
  __device__ __forceinline__ void contain_nonfinite(tile_run now) {
    at.v_checked(v.stage).wait((checked >> v.stage) & 1);
    checked ^= 1u << v.stage;
    const uint4 found = load_shared_16(at.v_nonfinite(v.stage));
    if ((found.x | found.y) == 0) {
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

  /// Finds the next item and begins its first scores. At the end, too, scores are begun, of what
  /// lies there, and never used: on a path without them ptxas would have every product wait for the
  /// one before.
  __device__ __forceinline__ void begin_item() {
    next = items.pop();
    if (next != items.end) {
      at.q_full(number, q.stage).wait(q.parity);
      if (p.query_factor != 1) {
        scale_queries();
      }
      at.k_full(k.stage).wait(k.parity);
    }
    w.begin_scores(q_rows(), at.k(k.stage));
  }

  /// All tiles of the item whose first scores are under way. The scores of a tile are begun before
  /// the values of the one before it: its softmax runs under the latter. The last values, too, are
  /// under way in the end. Returns the tiles that are left, for other warpgroups.
  __device__ __forceinline__ tile_run walk_tiles() {
    const float factor = score_factor<Score>(p);
    tile_run now = uniform_run(of()->first);
    const int own_end = max(now.tile + 1, uniform(of()->own_end[number]));
    if constexpr (keeps_slopes) {
      slopes[0] = slope_at(lane_row());
      slopes[1] = slope_at(lane_row() + 8);
    }
    weigh_tile<0>(now, factor, [] {});

#pragma unroll 1
    while (true) {
      if (!now.whole) {
        contain_nonfinite(now);
      }
      if (++now.tile < own_end) {
        now = seen_from(now);
      }
      if (now.tile >= own_end) {
        break;
      }
      await_turn();
      at.k_full(k.stage).wait(k.parity);
      w.begin_scores(q_rows(), at.k(k.stage));
      at.v_full(v.stage).wait(v.parity);
      w.begin_values(at.v(v.stage));
      end_turn();
      w.shrink_values(weigh_tile<1>(now, factor, [&] {
        w.template await_values<0>();
        release_values();
      }));
    }
    release(at.q_empty(number, q.stage));
    q.advance();
    at.v_full(v.stage).wait(v.parity);
    w.begin_values(at.v(v.stage));
    return now.given() ? seen_from(now) : now;
  }

  /// Takes part in what all do with tiles that only other warpgroups need.
  __device__ __forceinline__ void pass_tiles(tile_run now) {
#pragma unroll 1
    for (; now.given(); ++now.tile, now = seen_from(now)) {
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
    }
  }
  __device__ __forceinline__ void release_values() {
    release(at.v_empty(v.stage));
    v.advance();
  }

  __device__ __forceinline__ void write_item() {
    w.finish_sums();
    const auto* const located = of();
    const sequence_place place = located->place;
    const int end_row = located->item.end_row;
    const int first_row = lane_row();
    int token[2];
    int head[2];
    row_result result[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      token[h] = shape.token(first_row + 8 * h);
      head[h] = shape.head_of(located->item.head, first_row + 8 * h);
      result[h] =
          row_result::of(w.reference[h], w.sum[h], score_factor<Score>(p), sink_of(p, head[h]));
    }
    if (p.lse != nullptr) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if ((lane() & 3) == 0 && first_row + 8 * h < end_row) {
          write_lse(p, place, head[h], token[h], result[h].lse);
        }
      }
    }
    T* const out =
        static_cast<T*>(p.o) + place.batch * p.o_strides[0] + place.q_begin * p.o_strides[1];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      write_row<Config>(p, out + token[h] * p.o_strides[1] + head[h] * p.o_strides[2],
                        first_row + 8 * h < end_row, lane(), h, w.o, result[h]);
    }
  }

  __device__ __forceinline__ void run() {
    if constexpr (Config::ordered) {
      if (number == Config::warpgroups - 1) {
        end_turn();  // the first turn is the first one's
      }
    }
    begin_item();
#pragma unroll 1
    while (next != items.end) {
      current = next;
      w.clear();
      raw_reference[0] = raw_reference[1] = w.hidden;
      const tile_run left = walk_tiles();
      // With queries of its own, the first scores of the next item run while this one's results are
      // written; else its queries are on their way then.
      constexpr bool ahead = Config::q_stages > 1;
      if (!ahead || left.given()) {
        w.template await_values<0>();
        release_values();
        pass_tiles(left);
      }
      if constexpr (ahead) {
        begin_item();
        w.template await_values<1>();
        if (!left.given()) {
          release_values();
        }
      }
      write_item();
      items.release(current);
      if constexpr (!ahead) {
        begin_item();
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
      at.item_empty(slot).init(warps + 1 + checking_warps);
    }
    for (int stage = 0; stage < Config::stages; ++stage) {
      at.k_full(stage).init(1);
      at.v_full(stage).init(1);
      at.k_empty(stage).init(warps);
      at.v_empty(stage).init(warps);
      at.v_to_check(stage).init(1);
      at.v_checked(stage).init(checking_warps);
    }
    publish_barriers();
  }
  __syncthreads();

  const item_queue<Config> items{at, reinterpret_cast<located*>(slots), {}};
  if (thread < 128) {
    give_registers<Config::loading_registers>();
    if (thread < 32) {
      load_items<Config>(p, shape, score, maps, items);
    } else if (thread < 96) {
      check_values<Config>(shape, score, items, thread - 32);
    } else if (p.packed || p.k_lengths.data != nullptr) {
      const std::uint32_t kept = at.kept_sequences() - shared_address(shared_memory);
      const ranked_schedule<Config> schedule(
          p, shape, reinterpret_cast<sequence_levels*>(shared_memory + kept));
      find_items<Config>(p, shape, score, schedule, items);
    } else {
      find_items<Config>(p, shape, score, even_schedule<Config>{p, shape}, items);
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
