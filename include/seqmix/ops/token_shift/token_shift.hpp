// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/token_shift/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct token_shift_operator {
  static constexpr const char* name = "token_shift";
  using options_type = scan_options;
  static constexpr int tensors = 3;
  template <class X, class M, class O>
  static constexpr bool takes = scan_output<O> && scan_input_beside<X, O> && scan_parameter<M>;

  template <class Arch, class X, class M, class O>
  static auto bind(const scan_options& options, const X& x, const M& mu, const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "x", x);
    add_scan_parameter(p, 0, "mu", scan_numbers(mu));
    contract<Arch> c{name};
    check_own_scan_options(c, options, own_scan_options::none);
    check_scan(c, p, options);
    check_scan_parameters(c, p, 1, 1);
    return scan_call<scan_types_of<X, O>, Arch, token_shift_step, &naive_token_shift<Arch>>(p, c);
  }
};

}  // namespace detail

/// Mixes each token with the one before it, as the layers of RWKV do,
///
///     o_t = x_t + mu (x_(t-1) - x_t)
///
///     token_shift(x, mu, o, options, context);
///
/// mu [D], one share for each channel; x before the first token is `options.initial_state`
/// [N, D, 1], else 0, and `options.final_state` takes the last. Models whose factor is x_t's own
/// pass 1 - mu. A reverse shift mixes with the token behind.
///
/// x and o are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D], T2 fastest.
/// Any strides; elements are float, double, f16 or bf16, each tensor its own. `o` shares no memory
/// with x. What is not finite reaches its own token and the next, in its channel.
///
/// Work: O(B T D). Errors: `seqmix::error`, with nothing written. Peng et al., "RWKV: Reinventing
/// RNNs for the Transformer Era", 2023.
struct token_shift_fn : detail::scan_operator<detail::token_shift_operator> {};
inline constexpr token_shift_fn token_shift{};

/// The oracle: the same call, token by token in double.
struct naive_token_shift_fn : detail::scan_forms<detail::run_oracle, detail::token_shift_operator> {
};
inline constexpr naive_token_shift_fn naive_token_shift{};

SEQMIX_END_NAMESPACE
