// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/workspace.hpp>
#include <seqmix/dispatch/select.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace dispatch {

/// A call whose arguments are bound: the descriptor, what its check found, and the header's own
/// implementations for its types. The three things that every operator offers are here.
template <class Tag, class Problem>
struct call {
  Problem problem;
  device memory;
  detail::violation broken;
  header_list<Problem> cpu;

  void run(const context& ctx) const {
    if (const detail::violation v = broken ? broken : run_checked(ctx)) {
      detail::report(*v);
    }
  }

  dispatch_report explain(const context& ctx) const {
    if (broken) {
      detail::report(*broken);
      return {};
    }
    return dispatch::explain<Tag>(problem, memory, ctx, cpu);
  }

  std::size_t workspace_bytes(const context& ctx) const {
    if (broken) {
      detail::report(*broken);
      return 0;
    }
    return select<Tag>(problem, memory, ctx, cpu).terms.workspace_bytes;
  }

 private:
  detail::violation run_checked(const context& ctx) const {
    const choice<Problem> c = select<Tag>(problem, memory, ctx, cpu);
    if (c.chosen == nullptr) {
      return nothing_fits<Tag>(problem, memory, ctx, cpu);
    }
    if (ctx.workspace.data() != nullptr && ctx.workspace.size() < c.terms.workspace_bytes) {
      return error(Problem::operator_name, "context.workspace",
                   "at least " + std::to_string(c.terms.workspace_bytes) + " bytes",
                   std::to_string(ctx.workspace.size()) + " bytes");
    }
    const detail::scratch_lease scratch(ctx.workspace, c.terms.workspace_bytes);
    return c.chosen->run(problem, ctx, scratch.data());
  }
};

}  // namespace dispatch

namespace detail {

/// What a call can be asked for: an operator's forms are written once, for any of them.
struct run_call {
  template <class Call>
  static void of(const Call& call, const context& ctx) {
    call.run(ctx);
  }
};
struct explain_call {
  template <class Call>
  static dispatch_report of(const Call& call, const context& ctx) {
    return call.explain(ctx);
  }
};
struct measure_call {
  template <class Call>
  static std::size_t of(const Call& call, const context& ctx) {
    return call.workspace_bytes(ctx);
  }
};
struct run_oracle {
  template <class Call>
  static void of(const Call& call, context ctx) {
    ctx.pin = {.implementation = "naive"};
    call.run(ctx);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
