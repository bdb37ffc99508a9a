// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/core/view_of.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/causal_conv1d/check.hpp>
#include <seqmix/ops/causal_conv1d/cpu.hpp>

// From the arguments of a convolution over time to the descriptor of its call.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class W, class Y>
concept conv1d_tensors =
    ((view_of<X, 3> && mutable_view_of<Y, 3>) || (view_of<X, 2> && mutable_view_of<Y, 2>)) &&
    view_of<W, 2> && real_scalar<typename X::element_type> &&
    real_scalar<typename W::element_type> && real_scalar<typename Y::element_type>;

template <class X>
concept conv1d_state = mutable_view_of<X, 3> && real_scalar<typename X::element_type>;

/// [B, T, D]; a packed [total, D] with a batch axis of extent 1.
template <class X>
constexpr auto conv1d_rows(const X& x) noexcept {
  const auto v = as_tensor_view(x);
  if constexpr (X::rank() == 2) {
    return tensor_view<typename X::element_type, 3>(v.data_handle(), {1, v.extent(0), v.extent(1)},
                                                    {std::int64_t{0}, v.stride(0), v.stride(1)},
                                                    v.memory());
  } else {
    return v;
  }
}

template <class Problem, class X, class W, class Y>
Problem describe_conv1d(const X& x, const W& weight, const Y& y) noexcept {
  Problem p;
  p.x = conv1d_rows(x);
  p.weight = weight;
  p.y = conv1d_rows(y);
  p.packed = X::rank() == 2;
  return p;
}

template <class Arch, class X, class Y, class Problem>
dispatch::call<Arch, Problem> conv1d_call(const Problem& p, contract<Arch>& c) {
  return {p, p.x.memory, c.result(),
          conv1d_list<
              Problem,
              compute_type<std::remove_const_t<typename X::element_type>, typename Y::element_type>,
              Arch>};
}

template <class Arch, class X, class W, class Y>
dispatch::call<Arch, causal_conv1d_problem> bind_causal_conv1d(
    const X& x, const W& weight, const Y& y, const causal_conv1d_options& options) {
  auto p = describe_conv1d<causal_conv1d_problem>(x, weight, y);
  p.left = p.taps() - 1;
  p.initial_state = options.initial_state;
  p.final_state = options.final_state;
  p.initial_slots = options.initial_slots;
  p.final_slots = options.final_slots;
  p.state_positions = options.state_positions;
  contract<Arch> c{"causal_conv1d"};
  check_conv1d(c, p, options);
  if (c.holds()) {
    check_conv1d_positions(c, p);
    check_conv1d_states(c, p, "options.initial_state", "options.final_state");
  }
  return conv1d_call<Arch, X, Y>(p, c);
}

template <class Arch, class X, class W, class Y, class S>
dispatch::call<Arch, causal_conv1d_problem> bind_causal_conv1d_update(
    const X& x, const W& weight, const Y& y, const S& state, const causal_conv1d_options& options) {
  auto p = describe_conv1d<causal_conv1d_problem>(x, weight, y);
  p.left = p.taps() - 1;
  const auto both = as_tensor_view(state);
  p.initial_state = any_view<3>(both);
  p.final_state = both;
  p.initial_slots = options.initial_slots;
  p.state_positions = options.state_positions;
  contract<Arch> c{"causal_conv1d_update"};
  check_conv1d(c, p, options);
  c.absent("options.initial_state", options.initial_state.given(), "it is the argument state");
  c.absent("options.final_state", options.final_state.given(), "it is the argument state");
  c.absent("options.final_slots", options.final_slots.given(), "states are updated in place");
  if (c.holds()) {
    check_conv1d_positions(c, p);
    check_conv1d_states(c, p, "state", "state");
  }
  return conv1d_call<Arch, X, Y>(p, c);
}

template <class Arch, class X, class W, class Y>
dispatch::call<Arch, depthwise_conv1d_problem> bind_depthwise_conv1d(
    const X& x, const W& weight, const Y& y, const depthwise_conv1d_options& options) {
  auto p = describe_conv1d<depthwise_conv1d_problem>(x, weight, y);
  contract<Arch> c{"depthwise_conv1d"};
  check_conv1d(c, p, options);
  if (options.left != -1) {
    c.in_range("options.left", options.left, 0, p.taps() - 1);
  }
  p.left = options.left == -1 ? (p.taps() - 1) / 2 : options.left;
  return conv1d_call<Arch, X, Y>(p, c);
}

/// The forms of a call.
template <class Verb>
struct causal_conv1d_forms {
  template <class Arch = simd::default_arch, class X, class W, class Y>
    requires conv1d_tensors<X, W, Y>
  auto operator()(const X& x, const W& weight, const Y& y,
                  const causal_conv1d_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_causal_conv1d<Arch>(x, weight, y, options), ctx);
  }
};

template <class Verb>
struct causal_conv1d_update_forms {
  template <class Arch = simd::default_arch, class X, class W, class Y, class S>
    requires conv1d_tensors<X, W, Y> && conv1d_state<S>
  auto operator()(const X& x, const W& weight, const Y& y, const S& state,
                  const causal_conv1d_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_causal_conv1d_update<Arch>(x, weight, y, state, options), ctx);
  }
};

template <class Verb>
struct depthwise_conv1d_forms {
  template <class Arch = simd::default_arch, class X, class W, class Y>
    requires conv1d_tensors<X, W, Y>
  auto operator()(const X& x, const W& weight, const Y& y,
                  const depthwise_conv1d_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_depthwise_conv1d<Arch>(x, weight, y, options), ctx);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
