// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iterator>
#include <vector>

#include "attention_matrix.hpp"
#include "device_calls.hpp"

namespace seqmix_test {

/// The axes of the sweep over the CUDA kernels: lengths around their tiles of 128 rows and 64 keys,
/// and around the 64 rows of a key-value head (16 to a block) that count as decoding.
namespace device_axes {

inline constexpr std::int64_t queries[] = {0,   1,   2,   3,   4,   5,   8,   9,   15,
                                           16,  17,  21,  22,  63,  64,  65,  127, 128,
                                           129, 130, 191, 192, 193, 255, 256, 257, 500};
inline constexpr std::int64_t keys[] = {0,   1,   2,   15,  16,  17,  63,  64,  65,  127,
                                        128, 129, 130, 191, 192, 193, 255, 256, 257, 500};
inline constexpr std::int64_t dims[] = {64, 128};
inline constexpr std::int64_t heads[][2] = {{1, 1}, {3, 3}, {4, 1}, {6, 2}, {8, 1}, {8, 2}};
inline constexpr double scales[] = {1.3, -0.7, 0};  // times D^-0.5: see check()

}  // namespace device_axes

namespace device_factors {

inline constexpr sweep_factor T{
    std::size(device_axes::queries),
    [](attention_case& c, execution&, int i) { c.T = device_axes::queries[i]; }};
inline constexpr sweep_factor S{
    std::size(device_axes::keys),
    [](attention_case& c, execution&, int i) { c.S = device_axes::keys[i]; }};
inline constexpr sweep_factor D{
    std::size(device_axes::dims),
    [](attention_case& c, execution&, int i) { c.D = c.V = device_axes::dims[i]; }};
inline constexpr sweep_factor heads{std::size(device_axes::heads),
                                    [](attention_case& c, execution&, int i) {
                                      c.H = device_axes::heads[i][0];
                                      c.HK = device_axes::heads[i][1];
                                    }};
inline constexpr sweep_factor scale{1 + std::size(device_axes::scales),
                                    [](attention_case& c, execution&, int i) {
                                      if (i > 0) {
                                        c.scale = device_axes::scales[i - 1];
                                      }
                                    }};
/// Pairs of lengths, on either side of the border between decoding and prefill.
inline constexpr sweep_factor few_lengths{8, [](attention_case& c, execution&, int i) {
                                            constexpr std::int64_t pairs[][2] = {
                                                {1, 130}, {2, 17},   {4, 500},   {17, 65},
                                                {65, 16}, {127, 63}, {130, 129}, {129, 257}};
                                            c.T = pairs[i][0];
                                            c.S = pairs[i][1];
                                          }};

}  // namespace device_factors

inline constexpr algorithm device_algorithms[] = {algorithm::automatic, algorithm::prefill,
                                                  algorithm::decode};

inline matrix_sweep device_sweep(const attention_calls& calls) {
  matrix_sweep m{calls};
  m.algorithms = device_algorithms;
  return m;
}

/// The quick sweep over what the CUDA kernels take: every pair of levels of any two axes.
inline void check_matrix_device(const attention_calls& calls,
                                std::initializer_list<std::uint64_t> seeds = {1}) {
  const std::vector<sweep_factor> all{device_factors::T, device_factors::S,
                                      device_factors::D, device_factors::heads,
                                      factors::causal,   device_factors::scale,
                                      factors::lse,      factors::form,
                                      factors::batch,    factors::q,
                                      factors::k,        factors::v,
                                      factors::o};
  matrix_sweep m = device_sweep(calls);
  for (const std::uint64_t seed : seeds) {
    m.sweep(all, pairwise_plan(level_counts(all), seed));
  }
  m.finish("softmax_attention on the GPU, pairwise");
  CHECK(m.cases >= 540);
}

/// Sizes beyond the axes, wide groups of heads, and calls without work.
inline void check_device_corners(const attention_calls& calls) {
  matrix_sweep m = device_sweep(calls);
  const auto check = [&](attention_case c) {
    for (const std::int64_t D : device_axes::dims) {
      c.D = c.V = D;
      m.check(c, {}, bound::ceiling);
    }
  };
  constexpr scalar_type f32 = scalar_type::f32;
  check({.B = 2, .T = 1, .S = 5000, .H = 4, .HK = 2, .lse = f32});
  check({.B = 3, .T = 1, .S = 5000, .H = 4, .HK = 2, .lse = f32, .form = call_form::cached});
  check({.T = 1, .S = 20011, .H = 8, .HK = 1, .causal = true, .lse = f32});
  check({.B = 3, .T = 2, .S = 3000, .H = 8, .HK = 1, .causal = true, .form = call_form::packed});
  check({.B = 2, .T = 1, .S = 300, .H = 16, .HK = 1, .lse = f32});
  check({.B = 2, .T = 1, .S = 300, .H = 32, .HK = 1, .lse = f32});
  check({.B = 2, .T = 3, .S = 700, .H = 64, .HK = 1, .causal = true, .lse = f32});
  check({.T = 40, .S = 1500, .H = 2, .HK = 1, .causal = true, .lse = scalar_type::f64});
  check({.B = 2, .T = 900, .S = 300, .H = 2, .HK = 1, .causal = true, .lse = f32});
  check({.T = 1030, .S = 1030, .H = 2, .HK = 2, .causal = true, .lse = f32});
  check({.B = 40,
         .T = 7,
         .S = 90,
         .H = 2,
         .HK = 1,
         .causal = true,
         .form = call_form::packed,
         .seed = 3});
  check({.B = 0, .T = 4, .S = 4, .lse = f32});
  for (const std::uint64_t seed : {1u, 2u, 4u, 5u}) {  // with and without rows of no sequence
    check({.B = 0, .T = 4, .S = 4, .form = call_form::packed, .seed = seed});
  }
  check({.B = 2, .T = 0, .S = 9, .lse = f32});
  check({.B = 2, .T = 9, .S = 0, .H = 2, .HK = 1, .lse = f32, .o = layout::padded});
  check({.B = 2, .T = 1, .S = 0, .H = 2, .HK = 1, .lse = f32, .form = call_form::cached});
  check({.B = 2, .T = 4, .S = 4, .H = 0, .HK = 0});
  check({.B = 2, .T = 4, .S = 4, .H = 0, .HK = 2});
  m.finish("softmax_attention on the GPU, corners");
}

/// Every combination of sizes and heads, of layouts and forms, and of widths and options; the axes
/// that are no factor rotate.
inline void check_matrix_device_full(const attention_calls& calls) {
  using namespace device_factors;
  using factors::batch;
  using factors::causal;
  using factors::form;
  using factors::k;
  using factors::lse;
  using factors::o;
  using factors::q;
  using factors::v;
  matrix_sweep sizes = device_sweep(calls);
  sizes.product({T, S, heads, causal}, {D, scale, lse, form, q, k, v, o});
  sizes.finish("softmax_attention on the GPU, full: sizes x heads");
  matrix_sweep options = device_sweep(calls);
  options.product({few_lengths, D, causal, scale, lse, form, batch}, {heads, q, k, v, o});
  options.finish("softmax_attention on the GPU, full: options x forms");
  matrix_sweep layouts = device_sweep(calls);
  layouts.product({q, k, v, o, form}, {few_lengths, D, causal, heads, lse, batch});
  layouts.finish("softmax_attention on the GPU, full: layouts");
}

}  // namespace seqmix_test
