// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iterator>
#include <vector>

#include "attention_matrix.hpp"
#include "device_calls.hpp"

namespace seqmix_test {

/// The axes of the sweep over the CUDA kernels: lengths around their tiles of 64 or 128 rows and of
/// 64 keys, and around the 64 rows of a key-value head (16 to a block) that count as decoding;
/// widths that they have and that they pad, in copies of 16 bytes and not; windows within a tile
/// and wider.
namespace device_axes {

inline constexpr std::int64_t queries[] = {0,   1,   2,   3,   4,   5,   8,   9,   15,
                                           16,  17,  21,  22,  63,  64,  65,  127, 128,
                                           129, 130, 191, 192, 193, 255, 256, 257, 500};
inline constexpr std::int64_t keys[] = {0,   1,   2,   15,  16,  17,  63,  64,  65,  127,
                                        128, 129, 130, 191, 192, 193, 255, 256, 257, 500};
inline constexpr std::int64_t dims[] = {1,   7,   40,  64,  72,  80,  96,
                                        100, 128, 160, 192, 200, 255, 256};
inline constexpr std::int64_t native_dims[] = {64, 96, 128, 192, 256};
inline constexpr seqmix::attention_window windows[] = {{},
                                                       {.left = 0},
                                                       {.left = 15},
                                                       {.left = 64},
                                                       {.right = 0},
                                                       {.left = 40, .right = 3},
                                                       {.right = 70},
                                                       {.left = 150, .right = 130}};
inline constexpr std::int64_t sinks[] = {0, 1, 20, 70};
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
    [](attention_case& c, execution&, int i) { c.D = device_axes::dims[i]; }};
/// As wide as the keys, or not.
inline constexpr sweep_factor V{2 * std::size(device_axes::dims),
                                [](attention_case& c, execution&, int i) {
                                  const auto n = static_cast<int>(std::size(device_axes::dims));
                                  c.V = i < n ? device_axes::dims[i] : c.D;
                                }};
inline constexpr sweep_factor native{
    std::size(device_axes::native_dims),
    [](attention_case& c, execution&, int i) { c.D = c.V = device_axes::native_dims[i]; }};
inline constexpr sweep_factor window{
    std::size(device_axes::windows),
    [](attention_case& c, execution&, int i) { c.window = device_axes::windows[i]; }};
inline constexpr sweep_factor sinks{
    std::size(device_axes::sinks),
    [](attention_case& c, execution&, int i) { c.sinks = device_axes::sinks[i]; }};
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
  const std::vector<sweep_factor> all{device_factors::T,
                                      device_factors::S,
                                      device_factors::D,
                                      device_factors::V,
                                      device_factors::heads,
                                      factors::causal,
                                      device_factors::window,
                                      device_factors::sinks,
                                      device_factors::scale,
                                      factors::lse,
                                      factors::form,
                                      factors::batch,
                                      factors::q,
                                      factors::k,
                                      factors::v,
                                      factors::o,
                                      factors::softcap,
                                      factors::sink_logits,
                                      factors::alibi};
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
    for (const std::int64_t D : device_axes::native_dims) {
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
  // Windows far from the first key, beside sinks of more than a tile or without any.
  check({.B = 2, .T = 1, .S = 5000, .H = 8, .HK = 2, .window = {.left = 300}, .lse = f32});
  check({.T = 3,
         .S = 3000,
         .H = 4,
         .HK = 1,
         .causal = true,
         .window = {.left = 200},
         .sinks = 100,
         .lse = f32});
  check({.T = 700, .S = 1500, .causal = true, .window = {.left = 100}, .sinks = 4, .lse = f32});
  check({.T = 300, .S = 900, .window = {.left = 60, .right = 90}, .sinks = 130, .lse = f32});
  check({.T = 900, .S = 100, .window = {.left = 20}, .sinks = 3, .lse = f32});
  // Sinks in tiles behind the window's last.
  check({.T = 150, .S = 300, .window = {.left = 30, .right = 10}, .sinks = 290, .lse = f32});
  // Every term at once, on scores that the cap bends.
  check({.B = 2,
         .T = 200,
         .S = 333,
         .H = 4,
         .HK = 2,
         .causal = true,
         .window = {.left = 120},
         .sinks = 9,
         .softcap = 2,
         .sink_logits = true,
         .alibi = true,
         .lse = f32,
         .form = call_form::packed,
         .magnitude = 4});
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
  using factors::alibi;
  using factors::batch;
  using factors::causal;
  using factors::form;
  using factors::k;
  using factors::lse;
  using factors::o;
  using factors::q;
  using factors::sink_logits;
  using factors::softcap;
  using factors::v;
  matrix_sweep sizes = device_sweep(calls);
  sizes.product({T, S, heads, causal}, {native, window, device_factors::sinks, scale, lse, form, q,
                                        k, v, o, softcap, sink_logits, alibi});
  sizes.finish("softmax_attention on the GPU, full: sizes x heads");
  matrix_sweep options = device_sweep(calls);
  options.product({few_lengths, native, causal, scale, lse, form, batch},
                  {heads, q, k, v, o, softcap, sink_logits, alibi});
  options.finish("softmax_attention on the GPU, full: options x forms");
  matrix_sweep widths = device_sweep(calls);
  widths.product({D, V, few_lengths, causal},
                 {heads, window, device_factors::sinks, scale, lse, form, batch, q, k, v, o,
                  softcap, sink_logits, alibi});
  widths.finish("softmax_attention on the GPU, full: widths");
  matrix_sweep masks = device_sweep(calls);
  masks.product({few_lengths, causal, window, device_factors::sinks, native, heads, softcap, alibi},
                {scale, lse, form, batch, q, k, v, o, sink_logits});
  masks.finish("softmax_attention on the GPU, full: masks x terms");
  matrix_sweep layouts = device_sweep(calls);
  layouts.product({q, k, v, o, form}, {few_lengths, D, V, causal, heads, lse, batch});
  layouts.finish("softmax_attention on the GPU, full: layouts");
}

}  // namespace seqmix_test
