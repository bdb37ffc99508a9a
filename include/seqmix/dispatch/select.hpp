// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/device.hpp>
#include <seqmix/dispatch/registry.hpp>
#include <seqmix/dispatch/report.hpp>
#include <span>
#include <string>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace dispatch {

// The functions here are inline and run in every consumer's unit, whatever its flags: `Tag` is the
// unit's instruction-set tag, which keeps units with different flags from sharing their code.

/// The implementations that the header compiles into a call, in order of preference.
template <class Problem>
using header_list = std::span<const implementation<Problem>>;

/// Calls `f(implementation)` for the linked back-ends in order of preference and then for the
/// header's own, until it returns true.
template <class Tag, class Problem, class F>
void for_each_implementation(header_list<Problem> cpu, F&& f) {
  const backend<Problem>* b = nullptr;
  while ((b = registry<Problem>::after(b)) != nullptr) {
    if (f(b->entry)) {
      return;
    }
  }
  for (const auto& i : cpu) {
    if (f(i)) {
      return;
    }
  }
}

/// Why the context rules an implementation out before it is asked; null when it does not.
template <class Tag, class Problem>
const char* ruled_out(const implementation<Problem>& i, device memory,
                      const context& ctx) noexcept {
  if (!ctx.pin.implementation.empty() && ctx.pin.implementation != i.name) {
    return "another implementation is pinned";
  }
  if (i.runs_on == processor::cpu && !memory.on_host()) {
    return "the tensors are on a CUDA device";
  }
  if (i.runs_on == processor::cpu && ctx.device == device_policy::cuda) {
    return "the device policy is cuda";
  }
  if (i.runs_on != processor::cpu && ctx.device == device_policy::cpu) {
    return "the device policy is cpu";
  }
  if (i.runs_on != processor::cpu && memory.on_host() &&
      ctx.device == device_policy::where_the_data_is) {
    return "the tensors are on the host";
  }
  if (!i.automatic && ctx.pin.implementation.empty()) {
    return "runs only when pinned";
  }
  return nullptr;
}

/// Why an implementation that was asked cannot be taken; empty when it can.
template <class Tag>
fixed_text<160> refusal(const offer& terms, const context& ctx) noexcept {
  fixed_text<160> reason;
  if (!terms.accepts()) {
    reason.append("lacks ");
    reason.append(terms.lacks.view());
  } else if (!ctx.pin.isa.empty() && ctx.pin.isa != terms.target.view()) {
    reason.append("the pinned instruction set is ");
    reason.append(ctx.pin.isa);
  }
  return reason;
}

/// Asks every implementation and keeps the answers.
template <class Tag, class Problem>
dispatch_report explain(const Problem& problem, device memory, const context& ctx,
                        header_list<Problem> cpu) {
  dispatch_report report;
  report.operator_name = Problem::operator_name;
  for_each_implementation<Tag, Problem>(cpu, [&](const implementation<Problem>& i) {
    // The CPU must not look at offsets and lengths that lie on a device.
    const bool readable = i.runs_on != processor::cpu || memory.on_host();
    const offer terms = readable ? i.query(problem, ctx) : offer{};
    dispatch_report::candidate c;
    c.implementation = i.name;
    c.target = terms.target.view();
    if (const char* why = ruled_out<Tag>(i, memory, ctx)) {
      c.reason = why;
    } else if (const auto reason = refusal<Tag>(terms, ctx); !reason.empty()) {
      c.reason = reason.view();
    } else if (!report.implementation.empty()) {
      c.reason = "an earlier one accepts";
    } else {
      c.chosen = true;
      report.implementation = i.name;
      report.target = terms.target.view();
      report.algorithm = terms.algorithm.view();
      report.splits = terms.splits;
      report.workspace_bytes = terms.workspace_bytes;
    }
    report.candidates.push_back(std::move(c));
    return false;
  });
  return report;
}

template <class Problem>
struct choice {
  const implementation<Problem>* chosen = nullptr;  ///< null when nothing can run the call
  offer terms{};
};

/// The first implementation that accepts. Allocates nothing.
template <class Tag, class Problem>
choice<Problem> select(const Problem& problem, device memory, const context& ctx,
                       header_list<Problem> cpu) {
  choice<Problem> result;
  for_each_implementation<Tag, Problem>(cpu, [&](const implementation<Problem>& i) {
    if (ruled_out<Tag>(i, memory, ctx) != nullptr) {
      return false;
    }
    result.terms = i.query(problem, ctx);
    if (!refusal<Tag>(result.terms, ctx).empty()) {
      return false;
    }
    result.chosen = &i;
    return true;
  });
  return result;
}

/// The error for a call that nothing can run.
template <class Tag, class Problem>
error nothing_fits(const Problem& problem, device memory, const context& ctx,
                   header_list<Problem> cpu) {
  const dispatch_report report = explain<Tag>(problem, memory, ctx, cpu);
  std::string names;
  std::string reasons;
  bool pinned_name_exists = ctx.pin.implementation.empty();
  for (const auto& c : report.candidates) {
    names += (names.empty() ? "" : ", ") + c.implementation;
    reasons += (reasons.empty() ? "" : "; ") + c.implementation + ": " + c.reason;
    pinned_name_exists |= ctx.pin.implementation == c.implementation;
  }
  bool has_cuda = false;
  for_each_implementation<Tag, Problem>(cpu, [&](const implementation<Problem>& i) {
    has_cuda |= i.runs_on == processor::cuda;
    return has_cuda;
  });
  if (!has_cuda && !memory.on_host()) {
    return {report.operator_name, "tensors", "host memory, since no CUDA back-end is linked",
            "memory of cuda:" + std::to_string(memory.ordinal)};
  }
  if (!has_cuda && ctx.device == device_policy::cuda) {
    return {report.operator_name, "context.device",
            "another policy, since no CUDA back-end is linked", "cuda"};
  }
  if (!pinned_name_exists) {
    return {report.operator_name, "context.pin.implementation", "one of " + names,
            std::string(ctx.pin.implementation)};
  }
  return {report.operator_name, "call", "one that an implementation supports",
          "one that none does (" + reasons + ")"};
}

}  // namespace dispatch

SEQMIX_END_NAMESPACE
