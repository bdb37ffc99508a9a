// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/call_forms.hpp>
#include <seqmix/ops/ssd/naive.hpp>
#include <seqmix/ops/ssd/options.hpp>

// The state-space dual as the recurrence of a matrix: C, B and x stand for q, k and v.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

inline constexpr recurrence_names ssd_names{.q = "C",
                                            .k = "B",
                                            .v = "x",
                                            .gate = "dt",
                                            .key_extent = "C.extent(N)",
                                            .value_extent = "x.extent(P)",
                                            .heads_extent = "x.extent(H)",
                                            .key_heads = "G",
                                            .keys = "[B, T, G, N]",
                                            .values = "[B, T, H, P]",
                                            .states = "[NS, H, N, P]",
                                            .pool = "[pool, H, N, P]",
                                            .checkpoints = "[NS, C, H, N, P]",
                                            .rollback = "[NS, R, H, N, P]"};

/// x, B, C and o, with steps for each token and head, and a rate for each head.
template <class X, class DT, class A, class B, class C, class O>
concept ssd_tensors = sequence_tensors<C, B, X, O> && view_of<DT, X::rank() - 1> && view_of<A, 1>;

/// A number for each head, or a row of values for each, along all tokens.
SEQMIX_ALWAYS_INLINE any_view<4> head_rows(const head_parameter& x,
                                           const matrix_recurrence_problem& p) noexcept {
  any_view<4> y;
  if (x.given()) {
    y.data = x.data;
    y.type = x.type;
    y.memory = x.memory;
    y.extents = {p.v.extents[0], p.v.extents[1], x.extents[0], x.extents[1]};
    y.strides = {0, 0, x.strides[0], x.strides[1]};
  }
  return y;
}

/// What the two have in common with the other operators.
inline recurrence_options recurrence_options_of(const ssd_options& x) noexcept {
  recurrence_options y;
  y.scale = 1;
  y.initial_state = x.initial_state;
  y.final_state = x.final_state;
  y.initial_slots = x.initial_slots;
  y.final_slots = x.final_slots;
  y.heads = x.groups;
  y.direction = x.direction;
  y.varlen = x.varlen;
  y.checkpoints = x.checkpoints;
  y.checkpoint_every = x.checkpoint_every;
  y.rollback = x.rollback;
  y.accumulate = x.accumulate;
  return y;
}

template <class Tag>
void check_steps(contract<Tag>& c, const matrix_recurrence_problem& p, const head_parameter& D,
                 const recurrence_names& names, const char* bias) {
  const std::int64_t P = p.value_dim();
  check_token_input(c, names.gate, "[B, T, H]", p.gate, p, 1, 1, names.q);
  check_head_parameter(c, "A", "[H]", p.steps.rate, p, 1, names.q);
  check_head_parameter(c, bias, "[H]", p.steps.bias, p, 1, names.q);
  check_head_parameter(c, "options.D", "[H], or [H, P]", D, p, P, names.q);
  if (p.z.given()) {
    check_token_input(c, "options.z", "[B, T, H, P]", p.z, p, P, P, names.q);
  }
  const bool ordered = p.steps.least <= p.steps.most;  // false for NaN
  c.require(ordered, "options.dt_least", "a number of at most dt_most", p.steps.least);
}

/// The descriptor of a call, unchecked.
template <class X, class DT, class A, class B, class C, class O>
matrix_recurrence_problem describe_ssd(const X& x, const DT& dt, const A& a, const B& b, const C& c,
                                       const O& o, const ssd_options& options) noexcept {
  matrix_recurrence_problem p;
  p.q = with_batch_axis(c);
  p.k = with_batch_axis(b);
  p.v = with_batch_axis(x);
  p.o = with_batch_axis(o);
  p.packed = X::rank() == 3;
  p.decay = state_decay::scalar;
  p.gate = token_numbers(dt);
  p.steps = {
      true,           head_parameter(a), options.dt_bias, options.dt_softplus, options.dt_least,
      options.dt_most};
  p.skip = head_rows(options.D, p);
  p.z = options.z;
  return p;
}

template <class Arch, class X, class B, class C, class O>
inline constexpr auto ssd_list =
    matrix_recurrence_list<recurrence_compute_type<C, B, X, O>, Arch, state_decay::scalar,
                           state_update::none, &naive_ssd<Arch>>;

template <class Arch, class X, class DT, class A, class B, class C, class O>
dispatch::call<Arch, matrix_recurrence_problem> bind_ssd(const X& x, const DT& dt, const A& a,
                                                         const B& b, const C& c, const O& o,
                                                         const ssd_options& options) {
  matrix_recurrence_problem p = describe_ssd(x, dt, a, b, c, o, options);
  contract<Arch> contract{"ssd"};
  check_recurrence(contract, p, recurrence_options_of(options), ssd_names);
  check_steps(contract, p, options.D, ssd_names, "options.dt_bias");
  return {p, p.q.memory, contract.result(), ssd_list<Arch, X, B, C, O>};
}

template <class Verb>
struct ssd_forms {
  template <class Arch = simd::default_arch, class X, class DT, class A, class B, class C, class O>
    requires ssd_tensors<X, DT, A, B, C, O>
  auto operator()(const X& x, const DT& dt, const A& a, const B& b, const C& c, const O& o,
                  const ssd_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_ssd<Arch>(x, dt, a, b, c, o, options), ctx);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
