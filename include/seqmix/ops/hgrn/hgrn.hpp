// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/hgrn/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct hgrn_operator {
  static constexpr const char* name = "hgrn";
  using options_type = scan_options;
  static constexpr int tensors = 3;
  template <class X, class G, class O>
  static constexpr bool takes = scan_output<O> && scan_input_beside<X, O> && scan_gate_beside<G, O>;

  template <class Arch, class X, class G, class O>
  static auto bind(const scan_options& options, const X& x, const G& g, const O& o) {
    const auto& gates = encoded_view(g);
    using types = scan_types_of<X, std::remove_cvref_t<decltype(gates)>, O>;
    const gate_encoding encoding = gate_form_of(g).encoding;
    scan_problem p = scan_into(o);
    add_scan_input(p, 0, "x", x);
    add_scan_input(p, 1, "g", gates);
    p.log_decay = encoding == gate_encoding::log;
    p.flag = options.tied;
    contract<Arch> c{name};
    c.require(p.log_decay || encoding == gate_encoding::linear, "g",
              "logarithms, a plain view, or factors in linear_gate", "another encoding");
    check_own_scan_options(c, options, own_scan_options::tied);
    check_scan(c, p, options);
    if constexpr (is_gate<G>) {
      if (!p.log_decay) {
        return scan_call<types, Arch, hgrn_of<false>::step, &naive_hgrn<Arch>>(p, c);
      }
    }
    return scan_call<types, Arch, hgrn_of<true>::step, &naive_hgrn<Arch>>(p, c);
  }
};

}  // namespace detail

/// The recurrence of hierarchically gated recurrent networks,
///
///     h_t = e^g_t h_(t-1) + (1 - e^g_t) x_t,   o_t = h_t
///
///     hgrn(x, g, o, options, context);
///
/// g holds logarithms, `linear_gate(g)` factors. Without `options.tied` x has no factor. States are
/// [N, D, 1].
///
/// All tensors over time are [B, T, D], packed [total, D] with `options.varlen`, or [B, T1, T2, D],
/// which run over T1 T2 tokens. Any strides; elements are float, double, f16 or bf16, each tensor
/// its own; states are kept in float, in double when a tensor over time is double. `o` shares no
/// memory with an input. What is not finite stays in its channel.
///
/// Work: O(B T D). Errors: `seqmix::error`, with nothing written. Qin et al., "Hierarchically Gated
/// Recurrent Neural Network for Sequence Modeling", 2023.
struct hgrn_fn : detail::scan_operator<detail::hgrn_operator> {};
inline constexpr hgrn_fn hgrn{};

/// The oracle: the same call, token by token in double.
struct naive_hgrn_fn : detail::scan_forms<detail::run_oracle, detail::hgrn_operator> {};
inline constexpr naive_hgrn_fn naive_hgrn{};

SEQMIX_END_NAMESPACE
