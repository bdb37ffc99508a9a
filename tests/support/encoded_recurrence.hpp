// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "recurrence_problem.hpp"

namespace seqmix_test {

/// Calls the problem's operator or its oracle with gates and strengths as `wrap_gate` and
/// `wrap_beta` make them of plain views. The problem's own gate and strength tensors, of elements G
/// and B; all other inputs are of T.
template <class T, class O, class S, class G = T, class B = T, class WrapGate, class WrapBeta>
void run_encoded(recurrence_problem& p, bool oracle, WrapGate&& wrap_gate, WrapBeta&& wrap_beta,
                 const seqmix::context& ctx = {}) {
  p.clear_outputs();
  const seqmix::recurrence_options x = p.options<S>();
  const auto call = [&](const auto& op, const auto& naive, const auto&... args) {
    oracle ? naive(args..., x, ctx) : op(args..., x, ctx);
  };
  const auto form = [&](const auto& in, const auto& out, const auto& gates, const auto& betas) {
    const auto q = in(p.q), k = in(p.k), v = in(p.v), a = in(p.a), b = in(p.b);
    const auto g = gates(p.gate);
    const auto beta = betas(p.beta);
    const auto o = out(p.o);
    const auto with_beta = [&](const auto& op, const auto& naive, const auto&... gate) {
      p.c.many_betas ? call(op, naive, q, k, v, gate..., wrap_beta(beta), o)
                     : call(op, naive, q, k, v, gate..., wrap_beta(without_last(beta)), o);
    };
    switch (p.c.op) {
      case recurrence::gla:
        return call(seqmix::gated_linear_attention, seqmix::naive_gated_linear_attention, q, k, v,
                    wrap_gate(g), o);
      case recurrence::delta:
        return with_beta(seqmix::delta_rule, seqmix::naive_delta_rule);
      case recurrence::gdn:
        return with_beta(seqmix::gated_delta_rule, seqmix::naive_gated_delta_rule,
                         wrap_gate(without_last(g)));
      case recurrence::kda:
        return with_beta(seqmix::kda, seqmix::naive_kda, wrap_gate(g));
      case recurrence::dplr:
        return call(seqmix::dplr_delta_rule, seqmix::naive_dplr_delta_rule, q, k, v, wrap_gate(g),
                    a, b, o);
      default:
        return call(seqmix::rwkv7, seqmix::naive_rwkv7, q, k, v, wrap_gate(g), a, b, o);
    }
  };
  if (p.c.packed) {
    return form([](const tensor<4>& t) { return t.packed_view<const T>(); },
                [](const tensor<4>& t) { return t.packed_view<O>(); },
                [](const tensor<4>& t) { return t.packed_view<const G>(); },
                [](const tensor<4>& t) { return t.packed_view<const B>(); });
  }
  return form([](const tensor<4>& t) { return t.view<const T>(); },
              [](const tensor<4>& t) { return t.view<O>(); },
              [](const tensor<4>& t) { return t.view<const G>(); },
              [](const tensor<4>& t) { return t.view<const B>(); });
}

/// A plain view.
inline constexpr auto as_it_is = [](const auto& view) { return view; };

inline constexpr recurrence gated_recurrences[] = {
    recurrence::gla, recurrence::gdn, recurrence::kda, recurrence::dplr, recurrence::rwkv7};

/// `p` with outputs and states in double and dense, as the oracle computes them.
inline recurrence_problem exact_problem(const recurrence_problem& p) {
  recurrence_case c = p.c;
  c.output = c.state = scalar_type::f64;
  c.outputs = c.states = layout::dense;
  recurrence_problem exact(c);
  exact.q = p.q;
  exact.k = p.k;
  exact.v = p.v;
  exact.gate = p.gate;
  exact.beta = p.beta;
  exact.a = p.a;
  exact.b = p.b;
  exact.initial.for_each([&](const tensor<4>::index& i) { exact.initial.set(i, p.initial[i]); });
  return exact;
}

}  // namespace seqmix_test
