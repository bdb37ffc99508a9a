// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

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
  const tensor_maps& maps;
  layout at;
  int number;  // of the warpgroup, uniform
  item_queue<Config> items;
  // Slots of items, which stay in shared memory: seldom needed, and too much for registers.
  int current;
  int next = unknown;  // after that
  static constexpr int unknown = -2;

  warpgroup_attention<Config> w;
  using shown_of_tile = shown_columns<warpgroup_attention<Config>>;
  stage_cursor<Config::q_stages> q;
  stage_cursor<Config::stages> k;
  stage_cursor<Config::stages> v;
  std::uint32_t checked = 0;  // for each stage the parity of its next check
  // ALiBi's slopes of this thread's rows, where registers are to spare.
  static constexpr bool keeps_slopes = !Score::plain && Config::warpgroups < 3;
  // What rows see of a tile is found while its scores are computed, where registers are to spare.
  static constexpr bool finds_shown_early =
      Config::warpgroups < 3 && (Score::plain || std::is_same_v<T, bf16>);
  float slopes[2] = {0, 0};
  // With a softcap alone: the raw products of which the references were made.
  float raw_reference[2];
  bool laid_down = false;  // the queries' tile before this one is not yet free

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
    shown_of_tile shown;
    const auto find_shown = [&] {
      if (!now.whole) {
        shown = scores_of_rows().template shown<warpgroup_attention<Config>>(now.tile * tile_keys,
                                                                             lane());
      }
    };
    if constexpr (finds_shown_early) {
      find_shown();
      if (!now.whole) {
        shown.pin();
      }
    }
    w.template await_scores<Pending>();
    release(at.k_empty(k.stage));
    k.advance();
    if constexpr (!finds_shown_early) {
      find_shown();
    }
    if constexpr (!Score::plain) {
      if (score.capped(p)) {
        if (bounded()) {
          weigh_bounded<Pending == 0>(now, shown, await_values);
          return {1, 1};
        }
        if constexpr (!std::is_same_v<T, bf16>) {  // with bf16 caps are seldom wider
          return weigh_capped(now, shown, await_values);
        }
      }
      scores.change(w, now.tile * tile_keys, lane());
    }
    if (!now.whole) {
      shown.hide_others(w);
    }
    float most[2];
    w.largest(most, w.reference);
    const auto exponent = [factor](int, float x, float offset) { return fmaf(x, factor, -offset); };
    return w.weigh(most, factor, exponent, at.v_nonfinite(0), await_values);
  }
  /// Whether this thread's scores of its rows are small enough for the softcap's polynomial.
  struct rows_near {
    bool row[2];
  };
  __device__ __forceinline__ float capped_exponent(tile_run now, bool near, float x,
                                                   float offset) const {
    const softcap_curve& curve = p.softcap;
    const float y =
        near || fabsf(x) <= curve.always ? near_cap{curve}(x, offset) : far_cap{curve}(x, offset);
    return x == w.hidden && !now.whole ? x : y;
  }
  /// Calls `weigh` with what makes exponents of raw products under a softcap. What one becomes
  /// depends on this thread's scores of the row, what is computed on the way on those of the warp.
  template <class Weigh>
  __device__ __forceinline__ float2 under_cap(tile_run now, const rows_near& near, Weigh&& weigh) {
    const softcap_curve& curve = p.softcap;
    const bool all_near = __all_sync(0xffffffffu, near.row[0] && near.row[1]);
    if (all_near && (now.whole || curve.terms[2] > 0)) {
      return weigh([&](int, float x, float offset) { return near_cap{curve}(x, offset); });
    }
    const bool none_near = __all_sync(0xffffffffu, !near.row[0] && !near.row[1]);
    if (none_near && now.whole && curve.always < 0) {
      return weigh([&](int, float x, float offset) { return far_cap{curve}(x, offset); });
    }
    return weigh(
        [&](int h, float x, float offset) { return capped_exponent(now, near.row[h], x, offset); });
  }
  /// Whether weights can be relative to a constant: to what a softcap bounds scores by, where that
  /// is neither too much nor too little for the type that weights are multiplied in.
  __device__ __forceinline__ bool bounded() const {
    return std::is_same_v<T, bf16> && p.softcap.cap <= softcap_curve::most_bounded;
  }
  /// The same with a softcap alone that bounds scores: no row needs its largest but that of its
  /// first tile, which is the reference of all, if no score can be too far above it.
  template <bool First, class Await>
  __device__ __forceinline__ void weigh_bounded(tile_run now, const shown_of_tile& shown,
                                                Await&& await_values) {
    const softcap_curve& curve = p.softcap;
    float furthest[2];
    if (now.whole) {
      furthest[0] = w.furthest(0);
      furthest[1] = w.furthest(1);
    } else {
      w.bound_below();  // minus infinity is for what is hidden
      shown.hide_others(w);
      furthest[0] = w.furthest_seen(0);
      furthest[1] = w.furthest_seen(1);
    }
    const rows_near near = {furthest[0] <= curve.near, furthest[1] <= curve.near};
    if constexpr (First) {
      float raw[2];
      w.largest(raw, raw_reference);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // The four lanes of a row agree: what is near is asked of the number alone.
        w.reference[h] = fmaxf(any_cap{curve}(raw[h], 0), curve.lowest_reference());
      }
    }
    const float2 total = under_cap(now, near, [&](auto&& exponent) {
      return w.weigh_against(w.reference, exponent, at.v_nonfinite(0), await_values);
    });
    w.sum[0] += total.x;
    w.sum[1] += total.y;
  }
  /// The same with any softcap alone. That never falls, so that the largest raw product makes the
  /// largest score, and is capped only where it may move the reference: it rises by no more than
  /// raw products do.
  template <class Await>
  __device__ __forceinline__ float2 weigh_capped(tile_run now, const shown_of_tile& shown,
                                                 Await&& await_values) {
    const softcap_curve& curve = p.softcap;
    float below[2];
    if (now.whole) {
      below[0] = w.furthest_below(0);
      below[1] = w.furthest_below(1);
    } else {
      w.bound_below();  // minus infinity is for what is hidden
      shown.hide_others(w);
      below[0] = w.furthest_seen_below(0);
      below[1] = w.furthest_seen_below(1);
    }
    float raw[2];
    w.largest(raw, raw_reference);
    const rows_near near = {below[0] <= curve.near && raw[0] <= curve.near,
                            below[1] <= curve.near && raw[1] <= curve.near};
    // Also where both are minus infinity.
    const bool moves[2] = {!((raw[0] - raw_reference[0]) * p.scale_log2 <= reference_slack),
                           !((raw[1] - raw_reference[1]) * p.scale_log2 <= reference_slack)};
    const float before[2] = {w.reference[0], w.reference[1]};
    float most[2] = {before[0], before[1]};
    if (__any_sync(0xffffffffu, moves[0] || moves[1])) {
      most[0] = moves[0] ? capped_exponent(now, near.row[0], raw[0], 0) : most[0];
      most[1] = moves[1] ? capped_exponent(now, near.row[1], raw[1], 0) : most[1];
    }
    const float2 shrink = under_cap(now, near, [&](auto&& exponent) {
      return w.weigh(most, 1, exponent, at.v_nonfinite(0), await_values);
    });
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

  // Found at an item's end the next one is late, found in the loop it takes instructions: which is
  // less was measured.
  static constexpr bool finds_ahead = Score::plain ? !Config::ordered : std::is_same_v<T, bf16>;
  /// Finds the next item, if it has not been found.
  __device__ __forceinline__ void find_next() {
    if (next == unknown) {
      next = items.pop();
    }
  }
  /// Begins the next item's first scores. At the end, too, scores are begun, of what
  /// lies there, and never used: on a path without them ptxas would have every product wait for the
  /// one before.
  __device__ __forceinline__ void begin_item() {
    find_next();
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
    if constexpr (Config::lays_down) {
      if (laid_down) {
        release_laid_down();
      }
    }

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
      if constexpr (finds_ahead) {
        find_next();  // while the products run
      }
      w.shrink_values(weigh_tile<1>(now, factor, [&] {
        w.template await_values<0>();
        release_values();
      }));
    }
    if constexpr (!Config::lays_down) {
      release(at.q_empty(number, q.stage));
    }
    q.advance();
    at.v_full(v.stage).wait(v.parity);
    w.begin_values(at.v(v.stage));
    return now.given() ? seen_from(now) : now;
  }

  /// Whether the item has rows for this warpgroup.
  __device__ __forceinline__ bool has_rows() const { return uniform(of()->own_end[number]) >= 0; }
  /// The first tile of an item without: its scores are under way, as those of others are. Returns
  /// what is left, as `walk_tiles` does.
  __device__ __forceinline__ tile_run pass_first_tile() {
    tile_run now = uniform_run(of()->first);
    w.template await_scores<0>();
    release(at.k_empty(k.stage));
    k.advance();
    if constexpr (Config::lays_down) {
      if (laid_down) {
        release_laid_down();
      }
    } else {
      release(at.q_empty(number, q.stage));
    }
    q.advance();
    if (!now.whole) {
      contain_nonfinite(now);
    }
    at.v_full(v.stage).wait(v.parity);
    ++now.tile;
    return seen_from(now);
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

  __device__ __forceinline__ void release_laid_down() {
    stores_wait_read();
    release(at.q_empty(number, q.stage ^ 1));
  }
  /// The 16 rows of the warp, from `first` on, which is the same in all lanes.
  __device__ __forceinline__ void store_rows(int first, const row_result (&result)[2]) {
    const auto* const located = of();
    const int row_of_group = uniform(warp_row()) % 64;
    const std::uint32_t rows =
        at.q(number, q.stage ^ 1) + static_cast<std::uint32_t>(row_of_group) * 128;
    lay_down_rows<Config>(rows, lane(), w.o, result);
    __syncwarp();
    const int head = uniform(shape.head_of(located->item.head, first));
    const int token = uniform(static_cast<int>(located->place.q_begin) + shape.token(first));
    const int batch = uniform(static_cast<int>(located->place.batch));
#pragma unroll
    for (int block = 0; block < Config::value_blocks; ++block) {
      store_box_if(lane() == 0, maps.o, rows + block * Config::q_block_bytes, 64 * block, head,
                   token, batch);
    }
    stores_commit();
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
    const int warp_first = uniform(located->item.first_row + warp_row());
    if (Config::lays_down && maps.stores && warp_first + 16 <= uniform(end_row)) {
      store_rows(warp_first, result);
    } else {
      T* const out =
          static_cast<T*>(p.o) + place.batch * p.o_strides[0] + place.q_begin * p.o_strides[1];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        write_row<Config>(p, out + token[h] * p.o_strides[1] + head[h] * p.o_strides[2],
                          first_row + 8 * h < end_row, lane(), h, w.o, result[h]);
      }
    }
    if (p.lse != nullptr) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if ((lane() & 3) == 0 && first_row + 8 * h < end_row) {
          write_lse(p, place, head[h], token[h], result[h].lse);
        }
      }
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
      next = unknown;
      w.clear();
      raw_reference[0] = raw_reference[1] = w.hidden;
      const bool computes = has_rows();
      const tile_run left = computes ? walk_tiles() : pass_first_tile();
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
      if (computes) {
        write_item();
      }
      laid_down = true;
      items.release(current);
      if constexpr (!ahead) {
        begin_item();
      }
    }
    products_wait<0>();
    if constexpr (Config::lays_down) {
      stores_wait_read();
    }
  }

 private:
  __device__ __forceinline__ void sync_own() const {
    named_sync(block_barriers::own + number, 128);
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
