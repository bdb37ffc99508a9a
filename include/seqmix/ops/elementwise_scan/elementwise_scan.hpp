// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/elementwise_scan/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class O>
concept monoid_output = mdspan_like<O> && mutable_view_of<O, O::rank()> && O::rank() >= 2 &&
                        O::rank() <= 5 && real_scalar<typename O::element_type>;

template <class A, class B, class O>
concept affine_tensors = monoid_output<O> && scan_input_beside<B, O> && scan_gate_beside<A, O>;

template <class X, class O>
concept monoid_tensors = monoid_output<O> && scan_input_beside<X, O>;

/// Refuses ranks that the monoid's tensors do not have.
template <class Tag>
bool check_scan_rank(contract<Tag>& c, std::size_t rank, bool is_complex) {
  c.in_range(is_complex ? "rank of complex tensors" : "rank of tensors",
             static_cast<std::int64_t>(rank), is_complex ? 3 : 2, is_complex ? 5 : 4);
  return c.holds();
}

template <class Arch, class A, class B, class O>
dispatch::call<Arch, scan_problem> bind_affine_scan(const A& gate, const B& b, const O& o,
                                                    const scan_options& options) {
  const auto& a = encoded_view(gate);
  using types = scan_types_of<std::remove_cvref_t<decltype(a)>, B, O>;
  const gate_form form = gate_form_of(gate);
  const bool is_complex = options.monoid == scan_monoid::affine_complex;
  scan_problem p;
  p.monoid = options.monoid;
  p.log_decay = form.encoding == gate_encoding::log;
  p.packed = O::rank() == (is_complex ? 3 : 2);
  p.state_numbers = is_complex ? 2 : 1;
  contract<Arch> c{scan_problem::operator_name};
  c.require(is_complex || options.monoid == scan_monoid::affine, "options.monoid",
            "affine or affine_complex, with a and b", "another monoid");
  c.require(p.log_decay || form.encoding == gate_encoding::linear, "a",
            "logarithms, a plain view, or factors in linear_gate", "another encoding");
  c.require(!is_complex || !p.log_decay, "a", "factors in linear_gate, as they are complex",
            "logarithms");
  check_own_scan_options(c, options, own_scan_options::monoid);
  if (check_scan_rank(c, O::rank(), is_complex)) {
    const auto last_is_2 = [&](const char* argument, const auto& x) {
      c.equal(argument, " as the last extent of complex numbers", 2,
              as_tensor_view(x).extent(O::rank() - 1));
    };
    if (is_complex) {
      last_is_2("a", a);
      last_is_2("b", b);
      last_is_2("o", o);
    }
    for (std::int64_t part = 0; part < p.state_numbers; ++part) {
      const auto i = static_cast<std::size_t>(part);
      const auto parts = static_cast<std::size_t>(p.state_numbers);
      p.inputs[i] = scan_tensor<any_view<5>>(a, is_complex, part);
      p.inputs[parts + i] = scan_tensor<any_view<5>>(b, is_complex, part);
      p.outputs[i] = scan_tensor<any_out<5>>(o, is_complex, part);
      p.names[i] = "a";
      p.names[parts + i] = "b";
    }
    check_scan(c, p, options);
  }
  constexpr auto naive = &naive_elementwise_scan<Arch>;
  if (is_complex) {
    return scan_call<types, Arch, complex_step, naive>(p, c);
  }
  if constexpr (is_gate<A>) {
    if (!p.log_decay) {
      return scan_call<types, Arch, affine_of<false>::step, naive>(p, c);
    }
  }
  return scan_call<types, Arch, affine_of<true>::step, naive>(p, c);
}

template <class Arch, class X, class O>
dispatch::call<Arch, scan_problem> bind_monoid_scan(const X& x, const O& o,
                                                    const scan_options& options) {
  using types = scan_types_of<X, O>;
  scan_problem p;
  p.monoid = options.monoid;
  p.packed = O::rank() == 2;
  contract<Arch> c{scan_problem::operator_name};
  c.require(p.monoid == scan_monoid::log_sum_exp || p.monoid == scan_monoid::max ||
                p.monoid == scan_monoid::sum,
            "options.monoid", "log_sum_exp, max or sum, without a and b", "another monoid");
  check_own_scan_options(c, options, own_scan_options::monoid);
  if (check_scan_rank(c, O::rank(), false)) {
    p.inputs[0] = scan_tensor<any_view<5>>(x);
    p.names[0] = "x";
    p.outputs[0] = scan_tensor<any_out<5>>(o);
    check_scan(c, p, options);
  }
  constexpr auto naive = &naive_elementwise_scan<Arch>;
  switch (p.monoid) {
    case scan_monoid::log_sum_exp:
      return scan_call<types, Arch, log_sum_exp_step, naive>(p, c);
    case scan_monoid::max:
      return scan_call<types, Arch, max_step, naive>(p, c);
    default:
      return scan_call<types, Arch, sum_step, naive>(p, c);
  }
}

template <class Verb>
struct elementwise_scan_forms {
  template <class Arch = simd::default_arch, class A, class B, class O>
    requires affine_tensors<A, B, O>
  auto operator()(const A& a, const B& b, const O& o, const scan_options& options = {},
                  const context& ctx = {}) const {
    return Verb::of(bind_affine_scan<Arch>(a, b, o, options), ctx);
  }

  template <class Arch = simd::default_arch, class X, class O>
    requires monoid_tensors<X, O>
  auto operator()(const X& x, const O& o, const scan_options& options,
                  const context& ctx = {}) const {
    return Verb::of(bind_monoid_scan<Arch>(x, o, options), ctx);
  }
};

}  // namespace detail

/// Scans over time, each channel by itself: `options.monoid` says what the tokens are combined
/// with.
///
///     affine:          h_t = a_t h_(t-1) + b_t              elementwise_scan(a, b, o, options)
///     affine_complex:  the same in complex numbers          elementwise_scan(a, b, o, options)
///     log_sum_exp:     h_t = log(e^h_(t-1) + e^x_t)         elementwise_scan(x, o, options)
///     max:             h_t = max(h_(t-1), x_t)              elementwise_scan(x, o, options)
///     sum:             h_t = h_(t-1) + x_t                  elementwise_scan(x, o, options)
///
/// o_t = h_t, or h_(t-1) where `options.exclusive`. h before the first token is
/// `options.initial_state` [N, D, 1] (complex [N, D, 2]), else 0, or -infinity of log_sum_exp and
/// max; `options.final_state` takes the last. Both may be one memory. Reverse scans run from the
/// last token. `options.accumulate` adds outputs to what o holds: `bidirectional` takes all scans.
///
/// A plain view `a` holds logarithms: the factor is e^a, 0 for -infinity. `linear_gate(a)` holds
/// the factors themselves, of either sign; complex ones are given so. Where a factor is exactly 0
/// (e^a is below 2^-125.5 in float) what was before is over, be it NaN.
///
/// All tensors [B, T, D]; packed [total, D] with `options.varlen`; or [B, T1, T2, D], which run
/// over T1 T2 tokens, T2 fastest: maps in any order of their axes. Complex numbers are one more
/// axis of extent 2 at the end, of any stride, so that arrays of std::complex are views as they
/// lie, and separate parts of one allocation too. Elements are float, double, f16 or bf16, each
/// tensor its own; states are kept in float, in double when a tensor is double. Any strides.
/// `o` shares no memory with an input.
///
/// NaN stays in its channel: there, every output from it on is NaN, until a factor of 0. Sums of
/// any length are as accurate as one addition.
///
/// Work: O(B T D), each element read and written once. Errors: `seqmix::error` for every violated
/// line of this contract, with nothing written. Blelloch, "Prefix Sums and Their Applications",
/// 1990; Martin and Cundy, "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", 2018.
struct elementwise_scan_fn : detail::elementwise_scan_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::elementwise_scan_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::elementwise_scan_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr elementwise_scan_fn elementwise_scan{};

/// The oracle: the same call, token by token in double.
struct naive_elementwise_scan_fn : detail::elementwise_scan_forms<detail::run_oracle> {};
inline constexpr naive_elementwise_scan_fn naive_elementwise_scan{};

SEQMIX_END_NAMESPACE
