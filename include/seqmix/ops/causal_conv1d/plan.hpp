// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <seqmix/core/context.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/causal_conv1d/inputs.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How a call is cut into tasks, and its scratch. Registers hold neighbouring channels, or
/// neighbouring tokens where those are what lies densely.
template <class C, class Arch>
struct conv1d_plan {
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  // Rows in place may lie so that few of them fit in the first cache together.
  static constexpr std::int64_t most_direct_taps = 8;
  static constexpr std::int64_t bytes_past_caches = 4 << 20;

  bool over_time;
  bool past_caches;  // y is so large that it would push other things out of the caches
  // What is not read in place goes through a tile of this many tokens and channels.
  std::int64_t tile_tokens;
  std::int64_t tile_channels;
  std::int64_t channels;  // padded to whole registers
  std::int64_t task_tokens;
  std::int64_t task_channels;
  std::int64_t time_tasks;
  std::int64_t channel_tasks;
  std::int64_t in_elements;  // of a worker
  std::int64_t out_elements;
  std::size_t bytes;

  conv1d_plan(const conv1d_problem& p, const context& ctx) noexcept {
    const std::int64_t T = p.tokens();
    const std::int64_t D = p.channels();
    const bool unit_time = p.x.strides[1] == 1;
    const bool unit_channel = p.x.strides[2] == 1;
    over_time = T >= w && (unit_time == unit_channel ? T > D : unit_time);
    if (!ctx.pin.algorithm.empty()) {
      over_time = ctx.pin.algorithm == name(true);
    }
    past_caches = p.y.size() * static_cast<std::int64_t>(sizeof(C)) >= bytes_past_caches;
    channels = parts_of(D, w) * w;
    tile_tokens = p.taps() > most_direct_taps ? 32 : 16;
    tile_channels = p.taps() > most_direct_taps ? 128 : 256;
    task_tokens = over_time ? 1024 : 64;
    const std::int64_t most = over_time ? 32 : 1024;
    const std::int64_t unit = over_time ? 1 : tile_channels;
    task_channels =
        parts_of(parts_of(D, std::max<std::int64_t>(parts_of(D, most), 1)), unit) * unit;
    time_tasks = parts_of(T, task_tokens);
    channel_tasks = D == 0 ? 0 : parts_of(D, task_channels);
    in_elements = (tile_tokens + p.taps() - 1) * tile_channels;
    out_elements = tile_tokens * tile_channels;
    if (over_time) {
      in_elements = std::max(in_elements, parts_of(task_tokens + p.taps() - 1, w) * w + 2 * w);
      out_elements = std::max(out_elements, task_tokens + w);
    }
    scratch_layout layout;
    layout.take<C>((p.taps() + 1) * channels);
    layout.take<C>((in_elements + out_elements) * ctx.executor.concurrency());
    bytes = layout.bytes() + scratch_alignment;
  }

  static constexpr std::string_view name(bool over_time) noexcept {
    return over_time ? "over_time" : "over_channels";
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
