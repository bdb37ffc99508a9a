// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <seqmix/core/scalar.hpp>
#include <seqmix/dispatch/registry.hpp>

#include "isa.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

/// Whether a call computes in double: when any of its tensors is.
constexpr bool any_f64(std::initializer_list<scalar_type> types) noexcept {
  for (const scalar_type t : types) {
    if (t == scalar_type::f64) {
      return true;
    }
  }
  return false;
}

/// One operator's kernels as back-ends, one for each instruction set. `Kernels` says what they are:
///
///     problem                    the operator's descriptor
///     lacking(p)                 what none of them can do for a call; empty when nothing. Those
///                                that can do all leave it out
///     of<I>(p)                   the implementation for a call that they can serve
template <class Kernels>
class backends {
  using problem = typename Kernels::problem;

 public:
  /// For a static initialiser. The widest set is asked first, and a GPU before.
  static bool add() noexcept {
    dispatch::registry<problem>::add(entry<isa::avx512>());
    dispatch::registry<problem>::add(entry<isa::avx2>());
    return true;
  }

 private:
  template <isa I>
  static dispatch::offer query(const problem& p, const context& ctx) {
    dispatch::offer answer;
    answer.target = target(I);
    answer.lacks = multiarch::lacking(I);
    if constexpr (requires { Kernels::lacking(p); }) {
      if (answer.lacks.empty()) {
        answer.lacks = Kernels::lacking(p);
      }
    }
    return answer.lacks.empty() ? Kernels::template of<I>(p)->query(p, ctx) : answer;
  }

  template <isa I>
  static detail::violation run(const problem& p, const context& ctx, std::byte* scratch) {
    return Kernels::template of<I>(p)->run(p, ctx, scratch);
  }

  template <isa I>
  static dispatch::backend<problem>& entry() noexcept {
    static dispatch::backend<problem> b{
        .entry = {"multiarch", dispatch::processor::cpu, &query<I>, &run<I>},
        .preference = I == isa::avx512 ? 20 : 10};
    return b;
  }
};

}  // namespace multiarch

SEQMIX_END_NAMESPACE
