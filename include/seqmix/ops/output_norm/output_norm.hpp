// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/output_norm/cpu.hpp>
#include <seqmix/ops/output_norm/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class O>
concept output_norm_tensors =
    ((view_of<X, 4> && mutable_view_of<O, 4>) || (view_of<X, 3> && mutable_view_of<O, 3>)) &&
    real_scalar<typename X::element_type> && real_scalar<typename O::element_type>;

template <class Arch, class X, class O>
dispatch::call<Arch, output_norm_problem> bind_output_norm(const X& x, const O& o,
                                                           const output_norm_options& options,
                                                           bool in_place) {
  output_norm_problem p;
  p.x = with_batch_axis(x);
  p.o = with_batch_axis(o);
  violation broken = check_output_norm<Arch>(p, options, in_place);
  return {p, p.x.memory, std::move(broken),
          output_norm_cpu_list<std::remove_const_t<typename X::element_type>,
                               typename O::element_type, Arch>};
}

}  // namespace detail

/// Normalises each row of D values of each head, in place of a denominator that attention would
/// divide by; with a weight, a bias and a gate. Linear attention without a denominator ends in it,
/// and delta rules want keys of length 1, which l2 gives them.
///
///     rms:         n = x / sqrt(mean x^2 + eps)
///     layer_norm:  n = (x - mean x) / sqrt(var x + eps),      var x = mean (x - mean x)^2
///     srms:        n = sqrt(D) x / max(||x||_2, eps)
///     l2:          n = x / sqrt(sum x^2 + eps)
///     o = (n weight + bias) f(gate)
///
/// or, with `options.gate_place` before_norm, n is that of x f(gate), and o = n weight + bias:
/// Mamba-2's norm.
///
/// x and o [B, T, H, D], or packed [total, H, D]. Which n is `options.kind`, which must be given.
/// A row of zeros has n = 0 for every kind and eps, 0 too. `weight` and `bias` [H, D], repeated
/// along axes of extent 1, so that [1, D] serves all heads; 1 and 0 where they are not given.
/// `gate` [B, T, H, D] (packed [1, total, H, D]) goes with `options.gate_by`, which is f: plain,
/// sigmoid or silu; 1 without it.
///
/// Elements are float, double, f16 or bf16, those of weight, bias and gate any of them; sums are
/// kept in float, in double when x or o is double. Any strides; `o` shares no memory with an input.
/// NaN and infinities reach their own row only.
///
/// A positive factor before each row of x cancels, up to eps: what comes before this operator is
/// to be tested before it.
///
/// Work: O(B T H D). Errors: `seqmix::error`, with nothing written. Qin et al., "The Devil in
/// Linear Transformer", 2022; Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019;
/// Ba et al., "Layer Normalization", 2016.
struct output_norm_fn {
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::output_norm_tensors<X, O>
  void operator()(const X& x, const O& o, const output_norm_options& options,
                  const context& ctx = {}) const {
    detail::bind_output_norm<Arch>(x, o, options, false).run(ctx);
  }

  /// Which implementation the same call would run. Runs nothing.
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::output_norm_tensors<X, O>
  dispatch_report explain(const X& x, const O& o, const output_norm_options& options,
                          const context& ctx = {}) const {
    return detail::bind_output_norm<Arch>(x, o, options, false).explain(ctx);
  }

  /// The bytes of `context.workspace` that the same call needs.
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::output_norm_tensors<X, O>
  std::size_t workspace_bytes(const X& x, const O& o, const output_norm_options& options,
                              const context& ctx = {}) const {
    return detail::bind_output_norm<Arch>(x, o, options, false).workspace_bytes(ctx);
  }
};

inline constexpr output_norm_fn output_norm{};

/// `output_norm` with the result in x's own memory.
struct output_norm_inplace_fn {
  template <class Arch = simd::default_arch, class X>
    requires detail::output_norm_tensors<X, X>
  void operator()(const X& x, const output_norm_options& options, const context& ctx = {}) const {
    detail::bind_output_norm<Arch>(x, x, options, true).run(ctx);
  }

  template <class Arch = simd::default_arch, class X>
    requires detail::output_norm_tensors<X, X>
  dispatch_report explain(const X& x, const output_norm_options& options,
                          const context& ctx = {}) const {
    return detail::bind_output_norm<Arch>(x, x, options, true).explain(ctx);
  }

  template <class Arch = simd::default_arch, class X>
    requires detail::output_norm_tensors<X, X>
  std::size_t workspace_bytes(const X& x, const output_norm_options& options,
                              const context& ctx = {}) const {
    return detail::bind_output_norm<Arch>(x, x, options, true).workspace_bytes(ctx);
  }
};

inline constexpr output_norm_inplace_fn output_norm_inplace{};

/// The oracle: the same call, computed row by row in double.
struct naive_output_norm_fn {
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::output_norm_tensors<X, O>
  void operator()(const X& x, const O& o, const output_norm_options& options) const {
    detail::bind_output_norm<Arch>(x, o, options, false).run({.pin = {.implementation = "naive"}});
  }
};

inline constexpr naive_output_norm_fn naive_output_norm{};

SEQMIX_END_NAMESPACE
