// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/matrix_recurrence/segmented.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "recurrence". Its members are defined outside, so that a program may
/// declare an instantiation `extern` and compile it once.
template <class C, class Arch, state_decay Decay, state_update Update>
struct matrix_recurrence_cpu {
  static dispatch::offer query(const matrix_recurrence_problem& p, const context& ctx);
  static violation run(const matrix_recurrence_problem& p, const context& ctx, std::byte* scratch);
};

template <class C, class Arch, state_decay Decay, state_update Update>
dispatch::offer matrix_recurrence_cpu<C, Arch, Decay, Update>::query(
    const matrix_recurrence_problem& p, const context& ctx) {
  const recurrence_plan<C, Arch> plan(p, ctx);
  dispatch::offer answer;
  plan.choice.describe(answer.algorithm);
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes = plan.bytes;
  answer.splits = plan.segments;
  if (plan.choice.lacks != nullptr) {
    answer.lacks = plan.choice.lacks;
  }
  return answer;
}

template <class C, class Arch, state_decay Decay, state_update Update>
violation matrix_recurrence_cpu<C, Arch, Decay, Update>::run(const matrix_recurrence_problem& p,
                                                             const context& ctx,
                                                             std::byte* scratch) {
  const recurrence_plan<C, Arch> plan(p, ctx);
  if (plan.choice.algorithm == recurrence_algorithm::segmented) {
    segmented_run<C, Arch, Decay, Update>(p, plan, scratch, ctx.executor.concurrency())
        .run(ctx.executor);
    return {};
  }
  over_heads(p, plan, ctx.executor, scratch, plan.parts,
             [&](const recurrence_sequence& s, std::int64_t hv, std::int64_t part, std::byte* own) {
               scratch_layout layout(own);
               head_run<C, Arch, Decay, Update> head(p, plan, s, hv, layout);
               head.begin = part * plan.tiles / plan.parts;
               head.end = (part + 1) * plan.tiles / plan.parts;
               if (plan.choice.algorithm == recurrence_algorithm::step) {
                 head.run_step();
               } else {
                 head.run_all();
               }
             });
  return {};
}

/// The implementation as dispatch and compiled back-ends see it.
template <class C, class Arch, state_decay Decay, state_update Update>
inline constexpr dispatch::implementation<matrix_recurrence_problem> matrix_recurrence_entry{
    "recurrence", dispatch::processor::cpu, &matrix_recurrence_cpu<C, Arch, Decay, Update>::query,
    &matrix_recurrence_cpu<C, Arch, Decay, Update>::run};

/// The CPU implementations of one operator, in order of preference; the oracle is the operator's.
template <class C, class Arch, state_decay Decay, state_update Update,
          void (*Naive)(const matrix_recurrence_problem&)>
inline constexpr std::array<dispatch::implementation<matrix_recurrence_problem>, 2>
    matrix_recurrence_list{{matrix_recurrence_entry<C, Arch, Decay, Update>,
                            dispatch::oracle<matrix_recurrence_problem, Arch, Naive>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
