// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/elementwise_scan/check.hpp>
#include <seqmix/ops/elementwise_scan/cpu.hpp>
#include <seqmix/ops/elementwise_scan/gated_steps.hpp>
#include <seqmix/ops/elementwise_scan/modes.hpp>
#include <seqmix/ops/matrix_recurrence/gate_views.hpp>

// From the arguments of a scan to the descriptor of its call. An operator says in a struct what it
// is:
//
//     name, options_type
//     takes<X...>                    what the tensors may be, the output last
//     bind<Arch>(options, x...)      the call: descriptor, contract, implementations

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// [B, T, D], packed [total, D], or [B, T1, T2, D], with a last axis of 2 behind it where numbers
/// are complex: one part of them, as a tensor of a scan.
template <class View, class X>
View scan_tensor(const X& x, bool is_complex = false, std::int64_t part = 0) noexcept {
  const auto v = as_tensor_view(x);
  const std::size_t axes = X::rank() - (is_complex ? 1 : 0);
  View y;
  y.type = scalar_type_of<typename X::element_type>;
  y.memory = v.memory();
  if (axes < 2 || axes > 4) {
    return y;
  }
  y.data = v.data_handle();
  if (is_complex && v.data_handle() != nullptr) {
    y.data = v.data_handle() + part * v.stride(X::rank() - 1);
  }
  y.extents = {1, 1, 1, 1, 1};
  y.strides = {0, 0, 0, 0, 0};
  const auto take = [&](std::size_t to, std::size_t from) {
    y.extents[to] = v.extent(from);
    y.strides[to] = v.stride(from);
  };
  take(4, axes - 1);
  take(2, axes - 2);
  if (axes > 2) {
    take(0, 0);
  }
  if (axes > 3) {
    take(1, 1);
  }
  return y;
}

/// A number for each channel, [D], as parameters of a scan.
template <class X>
any_view<3> scan_numbers(const X& x) noexcept {
  const auto v = as_tensor_view(x);
  return tensor_view<typename X::element_type, 3>(v.data_handle(), {v.extent(0), 1, 1},
                                                  {v.stride(0), std::int64_t{0}, std::int64_t{0}},
                                                  v.memory());
}

/// [D, N] or [D, N, 2]: likewise for each mode.
template <class X>
any_view<3> scan_modes(const X& x) noexcept {
  const auto v = as_tensor_view(x);
  if constexpr (X::rank() == 3) {
    return v;
  } else {
    return tensor_view<typename X::element_type, 3>(v.data_handle(), {v.extent(0), v.extent(1), 1},
                                                    {v.stride(0), v.stride(1), std::int64_t{0}},
                                                    v.memory());
  }
}

/// The beginning of a descriptor, from the output.
template <class O>
scan_problem scan_into(const O& o) noexcept {
  scan_problem p;
  p.outputs[0] = scan_tensor<any_out<5>>(o);
  p.packed = O::rank() == 2;
  return p;
}

/// The next input, or the next parameter, of a descriptor.
template <class X>
void add_scan_input(scan_problem& p, std::size_t i, const char* argument, const X& x) noexcept {
  p.inputs[i] = scan_tensor<any_view<5>>(x);
  p.names[i] = argument;
}
inline void add_scan_parameter(scan_problem& p, std::size_t i, const char* argument,
                               const any_view<3>& x) noexcept {
  p.parameters[i] = x;
  p.parameter_names[i] = argument;
}

template <class X, class O>
concept scan_input_beside = view_of<X, O::rank()> && real_scalar<typename X::element_type>;

template <class O>
concept scan_output = mdspan_like<O> && mutable_view_of<O, O::rank()> && O::rank() >= 2 &&
                      O::rank() <= 4 && real_scalar<typename O::element_type>;

template <class X>
concept scan_parameter = view_of<X, 1> && real_scalar<typename X::element_type>;

template <class X, std::size_t Rank>
concept scan_mode_parameter = view_of<X, Rank> && real_scalar<typename X::element_type>;

template <class G, class O>
concept scan_gate_beside =
    gate_of<G, O::rank()> && real_scalar<typename std::remove_cvref_t<decltype(encoded_view(
                                 std::declval<const G&>()))>::element_type>;

template <class... X>
using scan_compute_type = compute_type<std::remove_const_t<typename X::element_type>...>;

template <class C, class... T>
struct scan_types_from {
  using type = scan_types<C, C>;
};
template <class C, class T, class... Same>
  requires(sizeof(T) == 2 && (std::is_same_v<T, Same> && ...))
struct scan_types_from<C, T, Same...> {
  using type = scan_types<C, T>;
};

/// Calls whose tensors are all of one 16-bit type read and write them where they lie; in others
/// such tensors go through blocks, since code for every mixture would be too much of it.
template <class... X>
using scan_types_of =
    typename scan_types_from<scan_compute_type<X...>,
                             std::remove_const_t<typename X::element_type>...>::type;

/// The call of a form with a step, of what was checked.
template <class Types, class Arch, template <class, class> class Step,
          void (*Naive)(const scan_problem&)>
dispatch::call<Arch, scan_problem> scan_call(scan_problem& p, contract<Arch>& c) {
  p.form = Step<float, Arch>::form;
  return {p, p.inputs[0].memory, c.result(), scan_list<Arch, fixed_scan<Types, Arch, Step>, Naive>};
}

/// The same of a form with modes.
template <class Types, class Arch, template <class, class> class Mode,
          void (*Naive)(const scan_problem&)>
dispatch::call<Arch, scan_problem> mode_scan_call(scan_problem& p, contract<Arch>& c) {
  p.form = Mode<float, Arch>::form;
  return {p, p.inputs[0].memory, c.result(), scan_list<Arch, mode_scan<Types, Arch, Mode>, Naive>};
}

/// The forms of a call by how many tensors it has.
template <class Verb, class Op, int Tensors = Op::tensors>
struct scan_forms;

template <class Verb, class Op>
struct scan_forms<Verb, Op, 3> {
  template <class Arch = simd::default_arch, class X, class Y, class O>
    requires(Op::template takes<X, Y, O>)
  auto operator()(const X& x, const Y& y, const O& o, const typename Op::options_type& options = {},
                  const context& ctx = {}) const {
    return Verb::of(Op::template bind<Arch>(options, x, y, o), ctx);
  }
};

template <class Verb, class Op>
struct scan_forms<Verb, Op, 5> {
  template <class Arch = simd::default_arch, class X, class Y, class Z, class W, class O>
    requires(Op::template takes<X, Y, Z, W, O>)
  auto operator()(const X& x, const Y& y, const Z& z, const W& w, const O& o,
                  const typename Op::options_type& options = {}, const context& ctx = {}) const {
    return Verb::of(Op::template bind<Arch>(options, x, y, z, w, o), ctx);
  }
};

template <class Verb, class Op>
struct scan_forms<Verb, Op, 6> {
  template <class Arch = simd::default_arch, class X, class Y, class Z, class W, class S, class O>
    requires(Op::template takes<X, Y, Z, W, S, O>)
  auto operator()(const X& x, const Y& y, const Z& z, const W& w, const S& s, const O& o,
                  const typename Op::options_type& options = {}, const context& ctx = {}) const {
    return Verb::of(Op::template bind<Arch>(options, x, y, z, w, s, o), ctx);
  }
};

/// An operator as a function object.
template <class Op>
struct scan_operator : scan_forms<run_call, Op> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr scan_forms<explain_call, Op> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr scan_forms<measure_call, Op> workspace_bytes{};
};

}  // namespace detail

SEQMIX_END_NAMESPACE
