// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/damped_ema/naive.hpp>
#include <seqmix/ops/elementwise_scan/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct damped_ema_operator {
  static constexpr const char* name = "damped_ema";
  using options_type = scan_options;
  static constexpr int tensors = 6;
  template <class X, class A, class D, class B, class E, class O>
  static constexpr bool takes =
      scan_output<O> && scan_input_beside<X, O> && scan_mode_parameter<A, 2> &&
      scan_mode_parameter<D, 2> && scan_mode_parameter<B, 2> && scan_mode_parameter<E, 2>;

  template <class Arch, class X, class A, class D, class B, class E, class O>
  static auto bind(const scan_options& options, const X& x, const A& alpha, const D& delta,
                   const B& beta, const E& eta, const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "x", x);
    add_scan_parameter(p, 0, "alpha", scan_modes(alpha));
    add_scan_parameter(p, 1, "delta", scan_modes(delta));
    add_scan_parameter(p, 2, "beta", scan_modes(beta));
    add_scan_parameter(p, 3, "eta", scan_modes(eta));
    p.state_numbers = alpha.extent(1);
    contract<Arch> c{name};
    c.in_range("alpha.extent(N)", p.state_numbers, 0, largest_scan_modes);
    check_own_scan_options(c, options, own_scan_options::none);
    check_scan(c, p, options);
    check_scan_parameters(c, p, p.state_numbers, 1);
    return mode_scan_call<scan_types_of<X, O>, Arch, damped_mode, &naive_damped_ema<Arch>>(p, c);
  }
};

}  // namespace detail

/// The multi-dimensional damped moving average, with N averages for each channel
///
///     h_(t,n) = alpha_n beta_n x_t + (1 - alpha_n delta_n) h_(t-1,n),   o_t = sum_n eta_n h_(t,n)
///
///     damped_ema(x, alpha, delta, beta, eta, o, options, context);
///
/// alpha, delta, beta and eta [D, N]. States are [N, D, N].
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: 3 N multiply-adds for each token and channel. Errors: `seqmix::error`, with nothing
/// written. Ma et al., "Mega: Moving Average Equipped Gated Attention", 2022.
struct damped_ema_fn : detail::scan_operator<detail::damped_ema_operator> {};
inline constexpr damped_ema_fn damped_ema{};

/// The oracle: the same call, token by token in double.
struct naive_damped_ema_fn : detail::scan_forms<detail::run_oracle, detail::damped_ema_operator> {};
inline constexpr naive_damped_ema_fn naive_damped_ema{};

SEQMIX_END_NAMESPACE
