// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/diagonal_ssm/naive.hpp>
#include <seqmix/ops/elementwise_scan/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct diagonal_ssm_operator {
  static constexpr const char* name = "diagonal_ssm";
  using options_type = scan_options;
  static constexpr int tensors = 5;
  template <class U, class A, class B, class C, class O>
  static constexpr bool takes =
      scan_output<O> && scan_input_beside<U, O> && scan_mode_parameter<A, 3> &&
      scan_mode_parameter<B, 3> && scan_mode_parameter<C, 3>;

  template <class Arch, class U, class A, class B, class C, class O>
  static auto bind(const scan_options& options, const U& u, const A& a, const B& b, const C& c,
                   const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "u", u);
    add_scan_parameter(p, 0, "a", scan_modes(a));
    add_scan_parameter(p, 1, "b", scan_modes(b));
    add_scan_parameter(p, 2, "c", scan_modes(c));
    const auto numbers = [](const any_view<1>& x) {
      any_view<3> y;
      y.data = x.data;
      y.type = x.type;
      y.memory = x.memory;
      y.extents = {x.extents[0], 1, 1};
      y.strides = {x.strides[0], 0, 0};
      return y;
    };
    if (options.skip.given()) {
      add_scan_parameter(p, 3, "options.skip", numbers(options.skip));
    }
    if (options.step.given()) {
      add_scan_parameter(p, 4, "options.step", numbers(options.step));
      p.flag = true;
    }
    const std::int64_t modes = a.extent(1);
    p.state_numbers = 2 * modes;
    contract<Arch> check{name};
    check.in_range("a.extent(N)", modes, 0, largest_scan_modes);
    check_own_scan_options(check, options, own_scan_options::step);
    check_scan(check, p, options);
    check_scan_parameters(check, p, modes, 2);
    return mode_scan_call<scan_types_of<U, O>, Arch, complex_mode, &naive_diagonal_ssm<Arch>>(
        p, check);
  }
};

}  // namespace detail

/// A diagonal state-space model with N complex modes for each channel,
///
///     h_(t,n) = a_n h_(t-1,n) + b_n u_t,   o_t = 2 Re sum_n c_n h_(t,n) + d u_t
///
///     diagonal_ssm(u, a, b, c, o, {.skip = d, .step = dt}, context);
///
/// a, b and c [D, N, 2], d and dt [D]. With dt, a and b are of the continuous system x' = a x + b
/// u: e^(a dt) and b (e^(a dt) - 1) / a stand for them. States are [N, D, 2 N], two parts for each
/// mode.
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: 8 N multiply-adds for each token and channel. Errors: `seqmix::error`, with nothing
/// written. Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models",
/// 2022; Smith et al., "Simplified State Space Layers for Sequence Modeling", 2023.
struct diagonal_ssm_fn : detail::scan_operator<detail::diagonal_ssm_operator> {};
inline constexpr diagonal_ssm_fn diagonal_ssm{};

/// The oracle: the same call, token by token in double.
struct naive_diagonal_ssm_fn
    : detail::scan_forms<detail::run_oracle, detail::diagonal_ssm_operator> {};
inline constexpr naive_diagonal_ssm_fn naive_diagonal_ssm{};

SEQMIX_END_NAMESPACE
