// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/selective_scan/check.hpp>
#include <seqmix/ops/selective_scan/cpu.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X>
concept real_tensor = real_scalar<typename X::element_type>;

/// A is [D, N], or [D, N, 2] of complex numbers.
template <class A>
concept scan_rates = (view_of<A, 2> || view_of<A, 3>) && real_tensor<A>;

/// B or C beside u and A: those of all tokens [D, N], or [B, T, G, N], packed [total, G, N]; each
/// with an axis of real and imaginary parts behind when A has one.
template <class X, class U, class A>
concept scan_projection =
    (view_of<X, A::rank()> || view_of<X, U::rank() + A::rank() - 1>) && real_tensor<X>;

template <class U, class Delta, class A, class B, class C, class Y>
concept selective_scan_tensors =
    (view_of<U, 3> || view_of<U, 2>) && view_of<Delta, U::rank()> &&
    mutable_view_of<Y, U::rank()> && real_tensor<U> && real_tensor<Delta> && real_tensor<Y> &&
    scan_rates<A> && scan_projection<B, U, A> && scan_projection<C, U, A>;

template <class X>
any_view<3> scan_tokens(const X& x) noexcept {
  return scan_rows_view(x);
}

template <class X>
any_out<3> selective_scan_output(const X& x) noexcept {
  const any_view<3> v = scan_rows_view(x);
  any_out<3> out;
  out.data = const_cast<void*>(v.data);
  out.type = v.type;
  out.extents = v.extents;
  out.strides = v.strides;
  out.memory = v.memory;
  return out;
}

template <class X>
any_view<3> scan_matrix(const X& x) noexcept {
  if constexpr (X::rank() == 2) {
    return with_parts_axis<any_view<3>>(any_view<2>(x));
  } else {
    return x;
  }
}

/// B or C as [B, T, G, N, parts].
template <class U, class A, class X>
any_view<5> scan_numbers(const X& x, const any_view<3>& u) noexcept {
  constexpr std::size_t rank = X::rank();
  const any_view<rank> v(x);
  any_view<5> out;
  out.data = v.data;
  out.type = v.type;
  out.memory = v.memory;
  constexpr std::size_t tail = A::rank() == 3 ? 3 : 2;  // axes from G on
  out.extents = {u.extents[0], u.extents[1], 0, 0, 1};
  // What stands before G, then G, N and perhaps the parts.
  constexpr std::size_t front = rank == A::rank() ? 0 : U::rank() - 1;
  constexpr std::size_t first = 2 - front;
  for (std::size_t a = 0; a < rank; ++a) {
    out.extents[first + a] = v.extents[a];
    out.strides[first + a] = v.strides[a];
  }
  static_assert(front + tail == rank);
  if (front == 1) {
    out.extents[0] = 1;
  }
  return out;
}

template <class... X>
using scan_compute_type = compute_type<std::remove_const_t<typename X::element_type>...>;

template <class U, class Delta, class A, class B, class C, class Y>
void describe_scan_tensors(selective_scan_problem& p, const U& u, const Delta& delta, const A& a,
                           const B& b, const C& c, const Y& y) noexcept {
  p.u = scan_tokens(u);
  p.delta = scan_tokens(delta);
  p.y = selective_scan_output(y);
  p.A = scan_matrix(a);
  p.B = scan_numbers<U, A>(b, p.u);
  p.C = scan_numbers<U, A>(c, p.u);
  p.own_B = B::rank() == A::rank();
  p.own_C = C::rank() == A::rank();
}

template <class Arch, class U, class Delta, class A, class B, class C, class Y>
dispatch::call<Arch, selective_scan_problem> bind_selective_scan(
    const U& u, const Delta& delta, const A& a, const B& b, const C& c, const Y& y,
    const selective_scan_options& options) {
  selective_scan_problem p;
  describe_scan_tensors(p, u, delta, a, b, c, y);
  p.packed = U::rank() == 2;
  violation broken = check_selective_scan<Arch>(p, options);
  return {p,
          p.u.memory,
          std::move(broken),
          selective_scan_list < scan_compute_type<U, Delta, A, B, C, Y>,
          Arch,
          A::rank() == 3 > };
}

template <class Verb>
struct selective_scan_forms {
  template <class Arch = simd::default_arch, class U, class Delta, class A, class B, class C,
            class Y>
    requires selective_scan_tensors<U, Delta, A, B, C, Y>
  auto operator()(const U& u, const Delta& delta, const A& a, const B& b, const C& c, const Y& y,
                  const selective_scan_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_selective_scan<Arch>(u, delta, a, b, c, y, options), ctx);
  }
};

}  // namespace detail

/// The scan of a diagonal state-space model whose step size, input and output matrices depend on
/// the token (Mamba-1): for each channel a state h of N numbers,
///
///     dt = delta_t + bias, or log(1 + e^(delta_t + bias))
///     h_t = e^(dt A) h_(t-1) + dt B_t u_t,   y_t = (C_t . h_t + D u_t) silu(z_t)
///
///     selective_scan(u, delta, A, B, C, y, options, context);
///
/// u, delta and y [B, T, D], or packed [total, D] with `options.varlen`; channels that lie behind
/// each other in time, [B, D, T] in memory, are a choice of strides. A [D, N]; B and C [B, T, G,
/// N], packed [total, G, N], channel d taking group d / (D / G), or [D, N] for all tokens. N is 1
/// to 256. `options.D` and `options.delta_bias` [D], `options.z` [B, T, D]. D u, the gate and the
/// bias are left out where they are not given. The softplus is the identity above 20.
///
/// Complex numbers have a last axis of two, real and imaginary part: A [D, N, 2], and with it B, C
/// and states. Then C . h is 2 Re(sum over n of C_n h_n), nothing conjugated: each state stands for
/// itself and its conjugate.
///
/// `options.initial_state` and `options.final_state` [NS, D, N] carry the state of each sequence,
/// zeros without; slots pick entries of a pool, -1 skips the sequence, its outputs too. An empty
/// sequence hands its state on. `options.direction` runs each sequence from its end.
///
/// Elements are float, double, f16 or bf16, each tensor its own; states and sums are kept in float,
/// in double when u, delta, A, B, C or y is double. Any strides. `y` shares no memory with an
/// input, the final state only with the initial one. Decays are e^x with x off by at most 5.5e-7 of
/// itself in float; those below 2^-126.5 are zero, and those above 2^127.5, which only a positive
/// dt A has, stay there.
///
/// Work: O(T D N) for each sequence, one exponential for each state and token, one for each channel
/// and token where A has a stride of 0 along N. Errors: `seqmix::error` for every violated line of
/// this contract, with nothing written. Paper: Gu and Dao, "Mamba: Linear-Time Sequence Modeling
/// with Selective State Spaces", 2023.
struct selective_scan_fn : detail::selective_scan_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::selective_scan_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::selective_scan_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr selective_scan_fn selective_scan{};

/// The oracle: the same call, token by token in double.
struct naive_selective_scan_fn : detail::selective_scan_forms<detail::run_oracle> {};
inline constexpr naive_selective_scan_fn naive_selective_scan{};

SEQMIX_END_NAMESPACE
