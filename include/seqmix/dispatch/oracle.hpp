// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/registry.hpp>
#include <seqmix/simd/arch.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace dispatch {

/// An operator's literal oracle as an implementation named "naive", for a pin only.
template <class Problem, class Arch, void (*Naive)(const Problem&)>
inline constexpr implementation<Problem> oracle{
    "naive", processor::cpu,
    [](const Problem&, const context& ctx) {
      offer answer;
      answer.algorithm = "naive";
      answer.target = simd::isa_name<Arch>();
      if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "naive") {
        answer.lacks = "the pinned algorithm (it has naive)";
      }
      return answer;
    },
    [](const Problem& p, const context&, std::byte*) {
      Naive(p);
      return detail::violation{};
    },
    /*automatic=*/false};

}  // namespace dispatch

SEQMIX_END_NAMESPACE
