// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/elementwise_scan/forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "scan". Its members are defined outside, so that a program may declare an
/// instantiation `extern` and compile it once.
template <class Arch, class Form>
struct scan_cpu {
  static dispatch::offer query(const scan_problem& p, const context& ctx);
  static violation run(const scan_problem& p, const context& ctx, std::byte* scratch);
};

template <class Arch, class Form>
dispatch::offer scan_cpu<Arch, Form>::query(const scan_problem& p, const context& ctx) {
  const std::int64_t workers = ctx.executor.concurrency();
  const scan_plan<Arch, Form> plan(p, workers);
  dispatch::offer answer;
  answer.algorithm = plan.direct ? "rows" : "blocks";
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes =
      plan.worker_bytes * static_cast<std::size_t>(workers) + scratch_alignment;
  if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != answer.algorithm.view()) {
    answer.lacks =
        plan.direct ? "the pinned algorithm (it has rows)" : "the pinned algorithm (it has blocks)";
  }
  return answer;
}

template <class Arch, class Form>
violation scan_cpu<Arch, Form>::run(const scan_problem& p, const context& ctx, std::byte* scratch) {
  const scan_plan<Arch, Form> plan(p, ctx.executor.concurrency());
  const auto task = [&](std::int64_t index, int worker) {
    std::byte* memory = scratch + plan.worker_bytes * static_cast<std::size_t>(worker);
    scan_task<Arch, Form>(p, plan, index, memory).run();
  };
  ctx.executor.run(p.sequences * p.heads() * plan.parts, task);
  return {};
}

/// The CPU implementations of one form, in order of preference.
template <class Arch, class Form, void (*Naive)(const scan_problem&)>
inline constexpr std::array<dispatch::implementation<scan_problem>, 2> scan_list{
    {{"scan", dispatch::processor::cpu, &scan_cpu<Arch, Form>::query, &scan_cpu<Arch, Form>::run},
     dispatch::oracle<scan_problem, Arch, Naive>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
