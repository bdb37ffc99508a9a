// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/rwkv4/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct rwkv4_operator {
  static constexpr const char* name = "rwkv4";
  using options_type = scan_options;
  static constexpr int tensors = 5;
  template <class K, class V, class W, class U, class O>
  static constexpr bool takes = scan_output<O> && scan_input_beside<K, O> &&
                                scan_input_beside<V, O> && scan_parameter<W> && scan_parameter<U>;

  template <class Arch, class K, class V, class W, class U, class O>
  static auto bind(const scan_options& options, const K& k, const V& v, const W& w, const U& u,
                   const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "k", k);
    add_scan_input(p, 1, "v", v);
    add_scan_parameter(p, 0, "w", scan_numbers(w));
    add_scan_parameter(p, 1, "u", scan_numbers(u));
    p.state_numbers = 3;
    contract<Arch> c{name};
    check_own_scan_options(c, options, own_scan_options::none);
    check_scan(c, p, options);
    check_scan_parameters(c, p, 1, 1);
    return scan_call<scan_types_of<K, V, O>, Arch, rwkv4_step, &naive_rwkv4<Arch>>(p, c);
  }
};

}  // namespace detail

/// The time mixing of RWKV-4, for each channel
///
///     o_t = (num_(t-1) + e^(u + k_t) v_t) / (den_(t-1) + e^(u + k_t))
///     num_t = e^w num_(t-1) + e^k_t v_t,   den_t = e^w den_(t-1) + e^k_t
///
///     rwkv4(k, v, w, u, o, options, context);
///
/// w, the logarithm of the decay, and u, the bonus, [D]. States are [N, D, 3]: num e^-m, den e^-m
/// and m, the largest exponent. A token with k = -infinity is not there; o of none is 0.
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: O(B T D). Errors: `seqmix::error`, with nothing written. Peng et al., "RWKV: Reinventing
/// RNNs for the Transformer Era", 2023.
struct rwkv4_fn : detail::scan_operator<detail::rwkv4_operator> {};
inline constexpr rwkv4_fn rwkv4{};

/// The oracle: the same call, token by token in double.
struct naive_rwkv4_fn : detail::scan_forms<detail::run_oracle, detail::rwkv4_operator> {};
inline constexpr naive_rwkv4_fn naive_rwkv4{};

SEQMIX_END_NAMESPACE
