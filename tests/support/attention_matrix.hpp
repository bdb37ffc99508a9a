// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "attention_calls.hpp"
#include "catch.hpp"
#include "pairwise.hpp"

namespace seqmix_test {

/// The axes of the sweep over softmax_attention.
namespace axes {

inline constexpr std::int64_t lengths[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 500};
inline constexpr std::int64_t dims[] = {1, 7, 60, 64, 80, 100, 128, 256};
inline constexpr std::int64_t heads[][2] = {{1, 1}, {3, 3}, {4, 1}, {6, 2}};
inline constexpr seqmix::attention_window windows[] = {
    {}, {.left = 0}, {.left = 15}, {.right = 0}, {.left = 40, .right = 3}, {.right = 70}};
inline constexpr std::int64_t sinks[] = {0, 1, 20};
inline constexpr scalar_type lse_types[] = {scalar_type::none, scalar_type::f32, scalar_type::f64};
inline constexpr layout inputs[] = {layout::dense,      layout::padded,        layout::strided,
                                    layout::head_first, layout::reversed,      layout::misaligned,
                                    layout::broadcast,  layout::broadcast_time};
inline constexpr layout outputs[] = {layout::dense,      layout::padded,   layout::strided,
                                     layout::head_first, layout::reversed, layout::misaligned};
inline constexpr call_form forms[] = {call_form::batched, call_form::packed, call_form::cached,
                                      call_form::paged};
inline constexpr std::int64_t pages[] = {1, 3, 16, 64, 100};

}  // namespace axes

/// One factor of a sweep: how many levels, and what a level means for a case.
struct sweep_factor {
  int levels;
  void (*set)(attention_case&, execution&, int level);
};

namespace factors {

inline constexpr sweep_factor T{
    std::size(axes::lengths), [](attention_case& c, execution&, int i) { c.T = axes::lengths[i]; }};
inline constexpr sweep_factor S{
    std::size(axes::lengths), [](attention_case& c, execution&, int i) { c.S = axes::lengths[i]; }};
inline constexpr sweep_factor D{std::size(axes::dims),
                                [](attention_case& c, execution&, int i) { c.D = axes::dims[i]; }};
inline constexpr sweep_factor V{std::size(axes::dims),
                                [](attention_case& c, execution&, int i) { c.V = axes::dims[i]; }};
inline constexpr sweep_factor heads{std::size(axes::heads),
                                    [](attention_case& c, execution&, int i) {
                                      c.H = axes::heads[i][0];
                                      c.HK = axes::heads[i][1];
                                    }};
inline constexpr sweep_factor causal{
    2, [](attention_case& c, execution&, int i) { c.causal = i == 1; }};
inline constexpr sweep_factor window{
    std::size(axes::windows),
    [](attention_case& c, execution&, int i) { c.window = axes::windows[i]; }};
inline constexpr sweep_factor sinks{
    std::size(axes::sinks), [](attention_case& c, execution&, int i) { c.sinks = axes::sinks[i]; }};
inline constexpr sweep_factor softcap{3, [](attention_case& c, execution&, int i) {
                                        c.softcap = i == 0 ? 0 : i == 1 ? 1.5 : 50;
                                      }};
inline constexpr sweep_factor sink_logits{
    2, [](attention_case& c, execution&, int i) { c.sink_logits = i == 1; }};
inline constexpr sweep_factor alibi{2,
                                    [](attention_case& c, execution&, int i) { c.alibi = i == 1; }};
inline constexpr sweep_factor between{4, [](attention_case& c, execution&, int i) {
                                        c.between = c.alibi ? static_cast<alibi_between>(i)
                                                            : alibi_between::rows;
                                      }};
inline constexpr sweep_factor bias{
    5, [](attention_case& c, execution&, int i) { c.bias = static_cast<bias_shape>(i); }};
inline constexpr sweep_factor relative{
    5, [](attention_case& c, execution&, int i) { c.relative = static_cast<bias_shape>(i); }};
inline constexpr sweep_factor scale{2, [](attention_case& c, execution&, int i) {
                                      if (i == 1) {
                                        c.scale = 1.3;  // times D^-0.5: see check()
                                      }
                                    }};
inline constexpr sweep_factor lse{
    std::size(axes::lse_types),
    [](attention_case& c, execution&, int i) { c.lse = axes::lse_types[i]; }};
/// Every form but the paged one.
inline constexpr sweep_factor form{
    3, [](attention_case& c, execution&, int i) { c.form = axes::forms[i]; }};
inline constexpr sweep_factor any_form{
    std::size(axes::forms), [](attention_case& c, execution&, int i) { c.form = axes::forms[i]; }};
inline constexpr sweep_factor page{
    std::size(axes::pages), [](attention_case& c, execution&, int i) { c.page = axes::pages[i]; }};
inline constexpr sweep_factor batch{3, [](attention_case& c, execution&, int i) { c.B = i + 1; }};
inline constexpr sweep_factor q{
    std::size(axes::inputs), [](attention_case& c, execution&, int i) { c.q = axes::inputs[i]; }};
inline constexpr sweep_factor k{
    std::size(axes::inputs), [](attention_case& c, execution&, int i) { c.k = axes::inputs[i]; }};
inline constexpr sweep_factor v{
    std::size(axes::inputs), [](attention_case& c, execution&, int i) { c.v = axes::inputs[i]; }};
inline constexpr sweep_factor o{
    std::size(axes::outputs), [](attention_case& c, execution&, int i) { c.o = axes::outputs[i]; }};
inline constexpr sweep_factor threads{
    3, [](attention_case&, execution& e, int i) { e.threads = i + 1; }};
inline constexpr sweep_factor shuffle{
    2, [](attention_case& c, execution& e, int i) { e.shuffle = i == 0 ? 0 : mix(c.seed) | 1; }};
inline constexpr sweep_factor workspace{3, [](attention_case&, execution& e, int i) {
                                          e.user_workspace = i > 0;
                                          e.workspace_shift = i == 2 ? 4 : 0;
                                        }};

}  // namespace factors

inline constexpr algorithm every_algorithm[] = {algorithm::automatic, algorithm::tiled,
                                                algorithm::split_kv,  algorithm::naive,
                                                algorithm::two_pass,  algorithm::three_pass};

/// Runs every algorithm that takes the case, and compares it with the reference.
struct matrix_sweep {
  attention_calls calls;
  std::int64_t naive_work =
      400'000;  ///< above this many exponentials naive is left to smaller cases
  std::span<const algorithm> algorithms = every_algorithm;
  std::int64_t cases = 0;
  std::int64_t runs[algorithm_count] = {};
  double error_sum = 0;  // of the runs whose reference is not all zeros
  double error_worst = 0;
  std::int64_t errors = 0;

  void check(attention_case c, execution e, bound which = bound::target) {
    c.types = calls.types;
    if (c.types.rounded_weights && c.V < 8) {
      which = bound::ceiling;  // so few numbers do not average, where rounded weights cancel
    }
    if (c.scale) {
      *c.scale /= std::sqrt(static_cast<double>(c.D));  // logits of wide heads stay moderate
    }
    attention_problem p(c);
    const attention_reference expected(p);
    ++cases;
    for (const algorithm how : algorithms) {
      if (!can_run(p, how) ||
          (how == algorithm::naive && c.B * c.H * c.T * c.S * c.V > naive_work)) {
        continue;
      }
      e.how = how;
      ++runs[static_cast<int>(how)];
      const std::string scratch = run(calls, p, e);
      const std::string problem = scratch + verify(p, expected, which);
      record(p, expected, how);
      if (!problem.empty()) {
        CAPTURE(c, e);
        FAIL_CHECK(problem);
      }
    }
  }

  void sweep(const std::vector<sweep_factor>& all, const test_plan& plan) {
    std::uint64_t seed = 1;
    for (const std::vector<int>& row : plan) {
      attention_case c;
      execution e;
      c.seed = seed++;
      for (std::size_t f = 0; f < all.size(); ++f) {
        all[f].set(c, e, row[f]);
      }
      check(c, e);
    }
  }

  /// Every combination of the levels of `fixed`; the rotating factors take some level in each.
  void product(const std::vector<sweep_factor>& fixed, const std::vector<sweep_factor>& rotating);

  void record(const attention_problem& p, const attention_reference& expected, algorithm how) {
    if (how != algorithm::naive && p.c.form != call_form::packed && p.o.size() > 0) {
      const double rms = measure(p.o.values(), expected.o, expected.o_floor).rms;
      error_sum += rms;
      error_worst = std::max(error_worst, rms);
      ++errors;
    }
  }

  /// Prints the counts, and checks the average error.
  void finish(const char* what) const {
    const double average = errors == 0 ? 0 : error_sum / static_cast<double>(errors);
    std::string counts;
    for (const algorithm how : algorithms) {
      counts += (counts.empty() ? "" : ", ") + std::string(name(how)) + ' ' +
                std::to_string(runs[static_cast<int>(how)]);
    }
    std::printf(
        "%s, types %s %s %s %s: %lld cases, runs: %s; RMS error %.2g on average, %.2g at most\n",
        what, seqmix::name(calls.types.q), seqmix::name(calls.types.k), seqmix::name(calls.types.v),
        seqmix::name(calls.types.o), static_cast<long long>(cases), counts.c_str(), average,
        error_worst);
    std::fflush(stdout);
    CHECK(average <= tolerance_of(calls.types.o).typical);
  }
};

inline std::vector<int> level_counts(const std::vector<sweep_factor>& all) {
  std::vector<int> levels;
  for (const sweep_factor& f : all) {
    levels.push_back(f.levels);
  }
  return levels;
}

inline void matrix_sweep::product(const std::vector<sweep_factor>& fixed,
                                  const std::vector<sweep_factor>& rotating) {
  std::uint64_t seed = 1;
  for (const std::vector<int>& row : full_plan(level_counts(fixed))) {
    attention_case c;
    execution e;
    c.seed = seed++;
    for (std::size_t f = 0; f < rotating.size(); ++f) {
      const std::uint64_t r = mix(c.seed * 64 + f);
      rotating[f].set(c, e, static_cast<int>(r % static_cast<std::uint64_t>(rotating[f].levels)));
    }
    for (std::size_t f = 0; f < fixed.size(); ++f) {
      fixed[f].set(c, e, row[f]);
    }
    check(c, e, bound::ceiling);
  }
}

/// The quick sweep: every pair of levels of any two axes, once for each seed.
inline void check_matrix_pairwise(const attention_calls& calls,
                                  std::initializer_list<std::uint64_t> seeds = {1}) {
  using namespace factors;
  const std::vector<sweep_factor> all{
      T,         S,        D,           V,     heads, causal, window,  sinks,   scale,
      lse,       any_form, batch,       q,     k,     v,      o,       threads, shuffle,
      workspace, softcap,  sink_logits, alibi, bias,  page,   between, relative};
  matrix_sweep m{calls};
  for (const std::uint64_t seed : seeds) {
    m.sweep(all, pairwise_plan(level_counts(all), seed));
  }
  m.finish("softmax_attention, pairwise");
  CHECK(m.cases >= 121);
}

/// Sizes beyond the axes, and wide groups of heads.
inline void check_matrix_corners(const attention_calls& calls) {
  matrix_sweep m{calls};
  const auto check = [&](const attention_case& c, const execution& e) {
    m.check(c, e, bound::ceiling);
  };
  check({.B = 2, .T = 3, .S = 70, .H = 16, .HK = 1, .D = 64, .V = 64, .causal = true}, {});
  check({.T = 2,
         .S = 600,
         .H = 64,
         .HK = 1,
         .D = 256,
         .V = 256,
         .causal = true,
         .lse = scalar_type::f32},
        {.threads = 3});
  check({.T = 5, .S = 40, .D = 1024, .V = 1024}, {.user_workspace = true});
  check({.T = 40, .S = 100, .H = 2, .HK = 1, .D = 1024, .V = 7, .causal = true}, {});
  check({.T = 33, .S = 70, .D = 3, .V = 1023, .window = {.left = 20}}, {.threads = 2});
  check({.T = 1, .S = 5000, .H = 2, .HK = 2, .D = 64, .V = 64, .lse = scalar_type::f32},
        {.threads = 2, .shuffle = 5});
  check({.B = 2,
         .T = 900,
         .S = 300,
         .H = 2,
         .HK = 1,
         .D = 16,
         .V = 24,
         .causal = true,
         .lse = scalar_type::f32},
        {.threads = 3, .shuffle = 9});
  check({.T = 70, .S = 900, .D = 32, .V = 32, .window = {.left = 100, .right = 200}, .sinks = 5},
        {});
  check({.B = 0, .T = 4, .S = 4}, {.user_workspace = true});
  check({.B = 2, .T = 4, .S = 4, .H = 0, .HK = 0}, {.user_workspace = true});
  check({.B = 2, .T = 4, .S = 4, .H = 0, .HK = 2}, {});
  m.finish("softmax_attention, corners");
}

/// Every combination of sizes and masks, and of widths, layouts and forms; the axes that are no
/// factor rotate.
inline void check_matrix_full(const attention_calls& calls) {
  using namespace factors;
  static constexpr sweep_factor small_dims{4, [](attention_case& c, execution&, int i) {
                                             constexpr std::int64_t pairs[][2] = {
                                                 {7, 7}, {16, 16}, {64, 60}, {40, 72}};
                                             c.D = pairs[i][0];
                                             c.V = pairs[i][1];
                                           }};
  static constexpr sweep_factor few_lengths{6, [](attention_case& c, execution&, int i) {
                                              constexpr std::int64_t pairs[][2] = {
                                                  {1, 127}, {2, 17},  {17, 65},
                                                  {65, 16}, {64, 63}, {127, 130}};
                                              c.T = pairs[i][0];
                                              c.S = pairs[i][1];
                                            }};
  matrix_sweep masks{calls, 50'000};
  masks.product({T, S, causal, window, sinks, heads},
                {small_dims, scale, lse, any_form, q, k, v, o, threads, shuffle, workspace, page});
  masks.finish("softmax_attention, full: sizes x masks x heads");
  matrix_sweep widths{calls, 50'000};
  widths.product({D, V, few_lengths, any_form, causal, lse},
                 {heads, window, sinks, scale, batch, q, k, v, o, threads, shuffle, workspace,
                  softcap, sink_logits, alibi, bias, page, between, relative});
  widths.finish("softmax_attention, full: widths x forms");
  matrix_sweep layouts{calls, 50'000};
  layouts.product({q, k, v, o, any_form}, {few_lengths, small_dims, causal, heads, window, sinks,
                                           lse, batch, threads, workspace, page});
  layouts.finish("softmax_attention, full: layouts");
}

}  // namespace seqmix_test
