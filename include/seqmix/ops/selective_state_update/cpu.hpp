// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/selective_state_update/naive.hpp>
#include <seqmix/ops/selective_state_update/run.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "states". Its members are defined outside, so that a program may declare
/// an instantiation `extern` and compile it once.
template <class C, class Arch>
struct selective_state_update_cpu {
  static dispatch::offer query(const selective_state_update_problem& p, const context& ctx);
  static violation run(const selective_state_update_problem& p, const context& ctx,
                       std::byte* base);
};

template <class C, class Arch>
dispatch::offer selective_state_update_cpu<C, Arch>::query(const selective_state_update_problem& p,
                                                           const context& ctx) {
  dispatch::offer answer;
  answer.algorithm = "states";
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes = state_update_rows<C, Arch>(nullptr, p).bytes *
                               static_cast<std::size_t>(ctx.executor.concurrency()) +
                           scratch_alignment;
  if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "states") {
    answer.lacks = "the pinned algorithm (it has states)";
  }
  return answer;
}

template <class C, class Arch>
violation selective_state_update_cpu<C, Arch>::run(const selective_state_update_problem& p,
                                                   const context& ctx, std::byte* base) {
  const selective_scan_problem& scan = p.scan;
  if (scan.channels() == 0 || scan.u.extents[1] == 0) {
    return {};
  }
  // Channels of one group; groups of one channel each where all tokens share B and C.
  const std::int64_t by_token =
      scan.own_B ? (scan.own_C ? 1 : scan.C.extents[2]) : scan.B.extents[2];
  const std::int64_t per_group = scan.channels() / by_token;
  const std::int64_t blocks = (per_group + scan_channels - 1) / scan_channels;
  const std::size_t worker_bytes = state_update_rows<C, Arch>(nullptr, p).bytes;
  const auto task = [&](std::int64_t index, int worker) {
    const std::int64_t block = index % blocks;
    const std::int64_t group = index / blocks % by_token;
    const sequence_place s = sequence_at(scan, index / (blocks * by_token));
    if (s.skipped()) {
      return;
    }
    const state_update_rows<C, Arch> rows(base + worker_bytes * static_cast<std::size_t>(worker),
                                          p);
    const std::int64_t left = per_group - block * scan_channels;
    const state_update_run<C, Arch> channels(p, rows, group,
                                             group * per_group + block * scan_channels,
                                             left < scan_channels ? left : scan_channels);
    channels.run(s);
  };
  ctx.executor.run(scan.sequences * by_token * blocks, task);
  return {};
}

template <class C, class Arch>
inline constexpr std::array<dispatch::implementation<selective_state_update_problem>, 2>
    selective_state_update_list{
        {{"states", dispatch::processor::cpu, &selective_state_update_cpu<C, Arch>::query,
          &selective_state_update_cpu<C, Arch>::run},
         dispatch::oracle<selective_state_update_problem, Arch,
                          &naive_selective_state_update<Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
