// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/core/view_of.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/matrix_recurrence/check.hpp>
#include <seqmix/ops/matrix_recurrence/cpu.hpp>

// From the arguments of an operator with a matrix state to the descriptor of its call. An operator
// says in a struct what it is:
//
//     name                       its own, for errors
//     decay, update              what of the recurrence it uses
//     takes<Q, gates...>         what may stand between v and o
//     describe(p, gates...)      where that belongs in the descriptor
//     check(c, p)                its contract
//     naive<Arch>                its oracle

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A number for each token and head as rows of one element: [B, T, HV], packed [total, HV].
template <class X>
any_view<4> token_numbers(const X& x) noexcept {
  const auto v = as_tensor_view(x);
  using T = typename X::element_type;
  if constexpr (X::rank() == 3) {
    return tensor_view<T, 4>(v.data_handle(), {v.extent(0), v.extent(1), v.extent(2), 1},
                             {v.stride(0), v.stride(1), v.stride(2), std::int64_t{0}}, v.memory());
  } else {
    return tensor_view<T, 4>(v.data_handle(), {1, v.extent(0), v.extent(1), 1},
                             {std::int64_t{0}, v.stride(0), v.stride(1), std::int64_t{0}},
                             v.memory());
  }
}

/// A row for each token and head: [B, T, HV, n], packed [total, HV, n].
template <class X>
any_view<4> token_vectors(const X& x) noexcept {
  return with_batch_axis(x);
}

/// A number for each value head: [HV].
template <class X>
any_view<4> head_numbers(const X& x, const matrix_recurrence_problem& p) noexcept {
  const auto v = as_tensor_view(x);
  return tensor_view<typename X::element_type, 4>(
      v.data_handle(), {p.v.extents[0], p.v.extents[1], v.extent(0), 1},
      {std::int64_t{0}, std::int64_t{0}, v.stride(0), std::int64_t{0}}, v.memory());
}

/// Numbers or rows for each token and head, by the rank.
template <class Q, class X>
any_view<4> token_values(const X& x) noexcept {
  if constexpr (X::rank() == Q::rank()) {
    return token_vectors(x);
  } else {
    return token_numbers(x);
  }
}

template <class X, class Q>
concept vectors_beside = view_of<X, Q::rank()>;
template <class G, class Q>
concept number_gates_beside = gate_of<G, Q::rank() - 1>;
template <class G, class Q>
concept vector_gates_beside = gate_of<G, Q::rank()>;
template <class B, class Q>
concept betas_beside = beta_of<B, Q::rank() - 1> || beta_of<B, Q::rank()>;

/// A gate in the descriptor, with its encoding.
template <class Q, class G>
void describe_gate(matrix_recurrence_problem& p, const G& gate) noexcept {
  p.gate = token_values<Q>(encoded_view(gate));
  p.gates = gate_form_of(gate);
}

/// A strength likewise.
template <class Q, class B>
void describe_beta(matrix_recurrence_problem& p, const B& beta) noexcept {
  p.beta = token_values<Q>(encoded_view(beta));
  p.betas = beta_encoding_of<B>();
}

template <class... X>
using recurrence_compute_type = compute_type<std::remove_const_t<typename X::element_type>...>;

template <class Arch, class Op, class Q, class K, class V, class O, class... Gates>
dispatch::call<Arch, matrix_recurrence_problem> bind_recurrence(const Q& q, const K& k, const V& v,
                                                                const O& o,
                                                                const recurrence_options& options,
                                                                const Gates&... gates) {
  matrix_recurrence_problem p;
  p.q = with_batch_axis(q);
  p.k = with_batch_axis(k);
  p.v = with_batch_axis(v);
  p.o = with_batch_axis(o);
  p.packed = Q::rank() == 3;
  p.decay = Op::decay;
  p.update = Op::update;
  Op::template describe<Q>(p, gates...);
  contract<Arch> c{Op::name};
  check_recurrence(c, p, options);
  Op::check(c, p);
  return {p, p.q.memory, c.result(),
          matrix_recurrence_list<recurrence_compute_type<Q, K, V, O>, Arch, Op::decay, Op::update,
                                 &Op::template naive<Arch>>};
}

/// The forms of a call by how many inputs stand between v and o.
template <class Verb, class Op, int Gates = Op::gates>
struct recurrence_forms;

template <class Verb, class Op>
struct recurrence_forms<Verb, Op, 0> {
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires sequence_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o,
                  const recurrence_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_recurrence<Arch, Op>(q, k, v, o, options), ctx);
  }
};

template <class Verb, class Op>
struct recurrence_forms<Verb, Op, 1> {
  template <class Arch = simd::default_arch, class Q, class K, class V, class G, class O>
    requires sequence_tensors<Q, K, V, O> && Op::template
  takes<Q, G> auto operator()(const Q& q, const K& k, const V& v, const G& g, const O& o,
                              const recurrence_options& options = {},
                              const context& ctx = {}) const {
    return Verb::of(bind_recurrence<Arch, Op>(q, k, v, o, options, g), ctx);
  }
};

template <class Verb, class Op>
struct recurrence_forms<Verb, Op, 2> {
  template <class Arch = simd::default_arch, class Q, class K, class V, class G, class B, class O>
    requires sequence_tensors<Q, K, V, O> && Op::template
  takes<Q, G, B> auto operator()(const Q& q, const K& k, const V& v, const G& g, const B& beta,
                                 const O& o, const recurrence_options& options = {},
                                 const context& ctx = {}) const {
    return Verb::of(bind_recurrence<Arch, Op>(q, k, v, o, options, g, beta), ctx);
  }
};

template <class Verb, class Op>
struct recurrence_forms<Verb, Op, 3> {
  template <class Arch = simd::default_arch, class Q, class K, class V, class G, class A, class B,
            class O>
    requires sequence_tensors<Q, K, V, O> && Op::template
  takes<Q, G, A, B> auto operator()(const Q& q, const K& k, const V& v, const G& g, const A& a,
                                    const B& b, const O& o, const recurrence_options& options = {},
                                    const context& ctx = {}) const {
    return Verb::of(bind_recurrence<Arch, Op>(q, k, v, o, options, g, a, b), ctx);
  }
};

/// An operator as a function object.
template <class Op>
struct recurrence_operator : recurrence_forms<run_call, Op> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr recurrence_forms<explain_call, Op> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr recurrence_forms<measure_call, Op> workspace_bytes{};
};

}  // namespace detail

SEQMIX_END_NAMESPACE
