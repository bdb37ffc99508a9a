// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/rg_lru/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct rg_lru_operator {
  static constexpr const char* name = "rg_lru";
  using options_type = scan_options;
  static constexpr int tensors = 5;
  template <class X, class I, class R, class L, class O>
  static constexpr bool takes =
      scan_output<O> && scan_input_beside<X, O> && scan_input_beside<I, O> &&
      scan_input_beside<R, O> && scan_parameter<L>;

  template <class Arch, class X, class I, class R, class L, class O>
  static auto bind(const scan_options& options, const X& x, const I& i, const R& r, const L& lambda,
                   const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "x", x);
    add_scan_input(p, 1, "i", i);
    add_scan_input(p, 2, "r", r);
    add_scan_parameter(p, 0, "lambda", scan_numbers(lambda));
    p.numbers[0] = options.sharpness;
    contract<Arch> c{name};
    c.require(std::isfinite(p.numbers[0]) && p.numbers[0] > 0, "options.sharpness",
              "a finite number above 0", p.numbers[0]);
    check_own_scan_options(c, options, own_scan_options::sharpness);
    check_scan(c, p, options);
    check_scan_parameters(c, p, 1, 1);
    return scan_call<scan_types_of<X, I, R, O>, Arch, rg_lru_step, &naive_rg_lru<Arch>>(p, c);
  }
};

}  // namespace detail

/// The real-gated linear recurrent unit,
///
///     log a_t = -c softplus(lambda) / (1 + e^-r_t)
///     h_t = a_t h_(t-1) + sqrt(1 - a_t^2) x_t / (1 + e^-i_t),   o_t = h_t
///
///     rg_lru(x, i, r, lambda, o, options, context);
///
/// lambda [D]; c is `options.sharpness`. States are [N, D, 1].
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: O(B T D). Errors: `seqmix::error`, with nothing written. De et al., "Griffin: Mixing Gated
/// Linear Recurrences with Local Attention for Efficient Language Models", 2024.
struct rg_lru_fn : detail::scan_operator<detail::rg_lru_operator> {};
inline constexpr rg_lru_fn rg_lru{};

/// The oracle: the same call, token by token in double.
struct naive_rg_lru_fn : detail::scan_forms<detail::run_oracle, detail::rg_lru_operator> {};
inline constexpr naive_rg_lru_fn naive_rg_lru{};

SEQMIX_END_NAMESPACE
