// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/min_gru/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct min_gru_operator {
  static constexpr const char* name = "min_gru";
  using options_type = scan_options;
  static constexpr int tensors = 3;
  template <class K, class X, class O>
  static constexpr bool takes =
      scan_output<O> && scan_input_beside<K, O> && scan_input_beside<X, O>;

  template <class Arch, class K, class X, class O>
  static auto bind(const scan_options& options, const K& k, const X& candidates, const O& o) {
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "k", k);
    add_scan_input(p, 1, "candidates", candidates);
    p.flag = options.candidates == min_gru_form::log;
    contract<Arch> c{name};
    c.require(p.flag || options.candidates == min_gru_form::linear, "options.candidates",
              "linear or log", "another value");
    check_own_scan_options(c, options, own_scan_options::candidates);
    check_scan(c, p, options);
    return scan_call<scan_types_of<K, X, O>, Arch, min_gru_step, &naive_min_gru<Arch>>(p, c);
  }
};

}  // namespace detail

/// The minimal gated recurrent unit,
///
///     z_t = 1 / (1 + e^-k_t),   h_t = (1 - z_t) h_(t-1) + z_t h~_t,   o_t = h_t
///
///     min_gru(k, candidates, o, options, context);
///
/// h~ are the candidates, or g of them with `options.candidates` log. States are [N, D, 1].
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: O(B T D). Errors: `seqmix::error`, with nothing written. Feng et al., "Were RNNs All We
/// Needed?", 2024.
struct min_gru_fn : detail::scan_operator<detail::min_gru_operator> {};
inline constexpr min_gru_fn min_gru{};

/// The oracle: the same call, token by token in double.
struct naive_min_gru_fn : detail::scan_forms<detail::run_oracle, detail::min_gru_operator> {};
inline constexpr naive_min_gru_fn naive_min_gru{};

SEQMIX_END_NAMESPACE
