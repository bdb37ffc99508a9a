// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "../../common/wgmma.cuh"
#include "../row_result.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What a warpgroup holds while its 64 query rows walk over tiles of keys, in fragments of
/// wgmma.cuh: this thread's two rows are g and g + 8 of its warp's 16.
template <class Config>
struct warpgroup_attention {
  using T = typename Config::element;
  using core = tensor_core<T>;
  static constexpr int keys = Config::block_keys;
  static constexpr int dim = Config::value_dim;
  static constexpr int rows = 16;  // of a warp
  static constexpr float hidden = hidden_score;

  float s[keys / 2];                // scores, then weights
  std::uint32_t weights[keys / 4];  // in pairs: the left operand of the second product
  float o[dim / 2];
  float reference[2];
  float sum[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < dim / 2; ++i) {
      o[i] = 0;
    }
    reference[0] = reference[1] = hidden;
    sum[0] = sum[1] = 0;
  }

  /// Begins s = q k^T. `q` is the first of the warpgroup's rows.
  __device__ __forceinline__ void begin_scores(std::uint32_t q, std::uint32_t k) {
    pin_free_registers(s);
    products_begin();
#pragma unroll
    for (int step = 0; step < Config::key_dim / 16; ++step) {
      const std::uint32_t within = static_cast<std::uint32_t>(step % 4) * 32;
      warpgroup_product<T, keys>::both_shared(
          s, matrix_descriptor::of(q + step / 4 * Config::q_block_bytes) + within,
          matrix_descriptor::of(k + step / 4 * Config::kv_block_bytes) + within, step > 0);
    }
    products_commit();
  }

  /// Begins o += weights v.
  __device__ __forceinline__ void begin_values(std::uint32_t v) {
    pin_registers(o);
    products_begin();
#pragma unroll
    for (int step = 0; step < keys / 16; ++step) {
      warpgroup_product<T, dim>::left_in_registers(
          o, weights + 4 * step, matrix_descriptor::of(v, Config::kv_block_bytes) + step * 2048, 1);
    }
    products_commit();
  }

  /// The scores are there when at most `Pending` groups of products are under way.
  template <int Pending>
  __device__ __forceinline__ void await_scores() {
    products_wait<Pending>();
    pin_registers(s);
  }
  template <int Pending>
  __device__ __forceinline__ void await_values() {
    products_wait<Pending>();
    pin_registers(o);
  }

  /// The column of the lane's first score; `for_row` counts from there.
  static __device__ __forceinline__ int first_column(int lane) { return 2 * (lane & 3); }

  /// Calls `f(score, column)` for each score of this thread in row g + 8 h.
  template <class F>
  __device__ __forceinline__ void for_row(int, int h, F&& f) {
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 4) {
      f(s[i], i / 4 * 8);
      f(s[i + 1], i / 4 * 8 + 1);
    }
  }

  /// The largest score of each row, or, where that and `enough` are on different sides of zero,
  /// some number below zero. Numbers that are not negative are ordered as their bits are, of which
  /// an instruction takes three; only where a row needs it all are compared as numbers.
  __device__ __forceinline__ void largest(float (&most)[2], const float (&enough)[2]) const {
    constexpr int chains = 4;  // the instruction takes long, and little else is there to do
    int found[2][chains];
#pragma unroll
    for (int i = 0; i < keys / 2; i += 4) {
      const int chain = i / 4 % chains;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int pair[] = {__float_as_int(s[i + 2 * h]), __float_as_int(s[i + 2 * h + 1])};
        found[h][chain] = i / 4 < chains ? max(pair[0], pair[1])
                                         : __vimax3_s32(found[h][chain], pair[0], pair[1]);
      }
    }
    int bits[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      bits[h] = max(__vimax3_s32(found[h][0], found[h][1], found[h][2]), found[h][3]);
    }
#pragma unroll
    for (int lanes = 1; lanes <= 2; lanes *= 2) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        bits[h] = max(bits[h], __shfl_xor_sync(0xffffffffu, bits[h], lanes));
      }
    }
    most[0] = __int_as_float(bits[0]);
    most[1] = __int_as_float(bits[1]);
    if (__any_sync(0xffffffffu,
                   (bits[0] < 0 && !(enough[0] >= 0)) || (bits[1] < 0 && !(enough[1] >= 0)))) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        most[h] = hidden;
#pragma unroll
        for (int i = 2 * h; i < keys / 2; i += 4) {
          most[h] = fmaxf(most[h], fmaxf(s[i], s[i + 1]));
        }
        most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 1));
        most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 2));
      }
    }
  }

  /// How far below zero the lowest score is of this thread's of row g + 8 h, or 0: of numbers'
  /// bits, as numbers without a sign, the largest are those of the lowest number.
  __device__ __forceinline__ float furthest_below(int h) const {
    constexpr int chains = 4;
    unsigned found[chains] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 4) {
      unsigned& most = found[i / 4 % chains];
      most = __vimax3_u32(most, __float_as_uint(s[i]), __float_as_uint(s[i + 1]));
    }
    const unsigned bits = max(__vimax3_u32(found[0], found[1], found[2]), found[3]);
    return -fminf(__uint_as_float(bits), 0);
  }
  /// The same without what is hidden.
  __device__ __forceinline__ float furthest_seen_below(int h) const {
    float lowest = 0;
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 4) {
      lowest = fminf(lowest, fminf(s[i] == hidden ? 0 : s[i], s[i + 1] == hidden ? 0 : s[i + 1]));
    }
    return -lowest;
  }
  /// No magnitude of this thread's scores of row g + 8 h is more; they go in pairs, whose sum
  /// bounds both.
  __device__ __forceinline__ float furthest(int h) const {
    constexpr int chains = 4;
    int found[chains] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 8) {
      int& most = found[i / 8 % chains];
      const int one = __float_as_int(fabsf(s[i]) + fabsf(s[i + 1]));
      const int other = i + 4 < keys / 2 ? __float_as_int(fabsf(s[i + 4]) + fabsf(s[i + 5])) : one;
      most = __vimax3_s32(most, one, other);
    }
    return __int_as_float(max(__vimax3_s32(found[0], found[1], found[2]), found[3]));
  }
  /// The same without what is hidden.
  __device__ __forceinline__ float furthest_seen(int h) const {
    float most = 0;
#pragma unroll
    for (int i = 2 * h; i < keys / 2; i += 4) {
      const float pair[] = {s[i] == hidden ? 0 : fabsf(s[i]),
                            s[i + 1] == hidden ? 0 : fabsf(s[i + 1])};
      most = fmaxf(most, pair[0] + pair[1]);
    }
    return most;
  }
  /// Minus infinity becomes the lowest number.
  __device__ __forceinline__ void bound_below() {
#pragma unroll
    for (int i = 0; i < keys / 2; ++i) {
      s[i] = s[i] == hidden ? -__FLT_MAX__ : s[i];
    }
  }

  /// Scores become weights 2^exponent(h, s, factor reference), in row g + 8 h, and are packed:
  /// `exponent` subtracts the latter from factor s, or from what is made of it. `factor` is
  /// positive, and `most` the largest of a row, as references are. Returns by how much what was
  /// accumulated has to shrink, in each row. `shared` and `await` are those of `weigh_against`.
  template <class Exponent, class Await>
  __device__ __forceinline__ float2 weigh(const float (&most)[2], float factor, Exponent&& exponent,
                                          std::uint32_t shared, Await&& await) {
    float shrink[2];
    float offset[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      shrink[h] = follow(reference[h], most[h], factor);
      offset[h] = reference_of(reference[h], factor);
    }
    const float2 total = weigh_against(offset, exponent, shared, await);
    sum[0] = fmaf(sum[0], shrink[0], total.x);
    sum[1] = fmaf(sum[1], shrink[1], total.y);
    return {shrink[0], shrink[1]};
  }

  /// Scores become weights 2^exponent(h, s, offset[h]), in row g + 8 h, and are packed. Returns the
  /// sum of each row's.
  ///
  /// When some of the exponentials are begun it calls `await`, behind which the registers of the
  /// weights before these are free: the product that reads them has ended by then, and what is left
  /// of the exponentials, whose unit is the slowest, runs beside the packing. ptxas would move the
  /// wait to the front; it leaves it behind a store to `shared`, which never happens, since no sum
  /// is negative: something that ptxas does not know of `sum`.
  template <class Exponent, class Await>
  __device__ __forceinline__ float2 weigh_against(const float (&offset)[2], Exponent&& exponent,
                                                  std::uint32_t shared, Await&& await) {
    float total[4] = {0, 0, 0, 0};
    constexpr int early = keys / 8 / 8 * 8;
    const auto weigh_part = [&](int begin, int end) {
#pragma unroll
      for (int i = begin; i < end; ++i) {
        s[i] = exp2_fast(exponent(i / 2 % 2, s[i], offset[i / 2 % 2]));
        total[i % 4] += s[i];
      }
    };
    weigh_part(0, early);
    store_shared_if_negative(shared, sum[0] + (total[0] + total[1]) + (total[2] + total[3]));
    await();
    pack_weights(0, early);
    weigh_part(early, keys / 2);
    pack_weights(early, keys / 2);
    return {total[0] + total[1], total[2] + total[3]};
  }

  /// Shrinks what was accumulated, unless no row of the warp has to.
  __device__ __forceinline__ void shrink_values(float2 shrink) {
    if (__any_sync(0xffffffffu, shrink.x != 1.0f || shrink.y != 1.0f)) {
#pragma unroll
      for (int i = 0; i < dim / 2; ++i) {
        o[i] *= (i / 2) % 2 == 0 ? shrink.x : shrink.y;
      }
    }
  }

  /// Of weights [begin, end).
  __device__ __forceinline__ void pack_weights(int begin, int end) {
#pragma unroll
    for (int i = begin / 2; i < end / 2; ++i) {
      weights[i] = core::pack(s[2 * i], s[2 * i + 1]);
    }
  }

  /// Completes the weight sums over the lanes of each row.
  __device__ __forceinline__ void finish_sums() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
      sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    }
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
