// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/gated_linear_attention/gated_linear_attention.hpp>
#include <seqmix/ops/kda/kda.hpp>
#include <seqmix/ops/linear_attention/linear_attention.hpp>
#include <seqmix/ops/rwkv7/rwkv7.hpp>
#include <tuple>

#include "seqmix_cpu.hpp"

namespace seqmix_bench {

namespace {

/// What an input is, behind q, k and v.
enum class gate {
  number,  ///< [T, H]
  row,     ///< [T, H, K]
};

template <auto& Op, gate... Gates>
struct recurrence {
  /// Calls f(q, k, v, gates..., o, options, ctx).
  static auto with(const auto& f, const peer_call& c, const seqmix::context& ctx) {
    const auto rows = [&](auto* p, std::int64_t width) {
      return seqmix::view(p, 1, c.T, c.H, width);
    };
    seqmix::recurrence_options options{.scale = c.scale};
    if (c.state != nullptr) {
      options.initial_state = seqmix::view(c.state, 1, c.H, c.K, c.V);
    }
    options.final_state = seqmix::view(c.final_state, 1, c.H, c.K, c.V);
    int at = 3;
    const auto next = [&]<gate G>() {
      const float* p = input(c, at++);
      if constexpr (G == gate::number) {
        return seqmix::view(p, 1, c.T, c.H);
      } else {
        return rows(p, c.K);
      }
    };
    // Braces fix the order in which the gates take their inputs.
    const std::tuple<decltype(next.template operator()<Gates>())...> gates {
      next.template operator()<Gates>()...
    };
    return std::apply(
        [&](const auto&... g) {
          return f(rows(input(c, 0), c.K), rows(input(c, 1), c.K), rows(input(c, 2), c.V), g...,
                   rows(output(c), c.V), options, ctx);
        },
        gates);
  }
  static void run(const peer_call& c, const seqmix::context& ctx) { with(Op, c, ctx); }
  static seqmix::dispatch_report explain(const peer_call& c, const seqmix::context& ctx) {
    return with(Op.explain, c, ctx);
  }
};

template <auto& Op, gate... Gates>
constexpr peer_operator entry(std::string_view name) {
  return {name, &recurrence<Op, Gates...>::run, &recurrence<Op, Gates...>::explain};
}

constexpr peer_operator operators[] = {
    entry<seqmix::linear_attention>("linear_attention"),
    entry<seqmix::gated_linear_attention, gate::row>("gated_linear_attention"),
    entry<seqmix::gated_delta_rule, gate::number, gate::number>("gated_delta_rule"),
    entry<seqmix::kda, gate::row, gate::number>("kda"),
    entry<seqmix::rwkv7, gate::row, gate::row, gate::row>("rwkv7"),
};

}  // namespace

const peer_operator* find_recurrence(std::string_view name) {
  const auto found = std::find_if(std::begin(operators), std::end(operators),
                                  [&](const peer_operator& o) { return o.name == name; });
  return found == std::end(operators) ? nullptr : &*found;
}

}  // namespace seqmix_bench
