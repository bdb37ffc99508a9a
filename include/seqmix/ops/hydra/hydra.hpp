// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <seqmix/ops/ssd/ssd.hpp>

SEQMIX_BEGIN_NAMESPACE

/// A number for each token and head: [B, T, H], or [total, H] of packed tensors.
struct token_parameter : any_view<4> {
  constexpr token_parameter() = default;

  template <detail::mdspan_like X>
    requires(X::rank() == 3 || X::rank() == 2)
  constexpr token_parameter(const X& x) noexcept : any_view<4>(detail::token_numbers(x)) {}
};

/// Options of `hydra`. Members are only ever appended.
struct hydra_options {
  head_parameter D{};             ///< [H] or [H, P]: D x is added to the output
  token_parameter D_token{};      ///< a number for each token and head, added to D
  head_parameter dt_bias{};       ///< [H], added to dt
  head_parameter dt_bias_back{};  ///< [H], added to dt_back
  bool dt_softplus = false;       ///< log(1 + e^(dt + bias)) instead of dt + bias, both ways
  double dt_least = 0;            ///< limits of the steps, after softplus
  double dt_most = std::numeric_limits<double>::infinity();
  head_map groups = head_map::grouped;  ///< which of the groups of B and C a head reads
  recurrence_varlen varlen{};
};

namespace detail {

/// One after the other, into the same output; nothing is written unless both are right.
template <class Call>
struct both_directions {
  Call ahead;
  Call back;

  void run(const context& ctx) const {
    if (!ahead.broken && back.broken) {
      back.run(ctx);  // which reports it
      return;
    }
    ahead.run(ctx);
    if (!ahead.broken) {
      back.run(ctx);
    }
  }
  dispatch_report explain(const context& ctx) const {
    return !ahead.broken && back.broken ? back.explain(ctx) : ahead.explain(ctx);
  }
  std::size_t workspace_bytes(const context& ctx) const {
    if (!ahead.broken && back.broken) {
      return back.workspace_bytes(ctx);
    }
    const std::size_t bytes = ahead.workspace_bytes(ctx);
    return ahead.broken ? bytes : std::max(bytes, back.workspace_bytes(ctx));
  }
};

constexpr recurrence_names backward_ssd_names() noexcept {
  recurrence_names names = ssd_names;
  names.q = "C_back";
  names.k = "B_back";
  names.gate = "dt_back";
  names.key_extent = "C_back.extent(N)";
  return names;
}
inline constexpr recurrence_names hydra_names[2] = {ssd_names, backward_ssd_names()};

/// One direction. The second one adds to the first, and brings the diagonal.
template <class Arch, class X, class DT, class A, class B, class C, class O>
dispatch::call<Arch, matrix_recurrence_problem> bind_hydra(const X& x, const DT& dt, const A& a,
                                                           const B& b, const C& c, const O& o,
                                                           const hydra_options& options,
                                                           bool back) {
  ssd_options own;
  own.dt_bias = back ? options.dt_bias_back : options.dt_bias;
  own.dt_softplus = options.dt_softplus;
  own.dt_least = options.dt_least;
  own.dt_most = options.dt_most;
  own.groups = options.groups;
  own.direction = back ? scan_direction::reverse : scan_direction::forward;
  own.varlen = options.varlen;
  own.accumulate = back;
  own.D = back ? options.D : head_parameter{};
  recurrence_options shared = recurrence_options_of(own);
  shared.shift_outputs = true;
  matrix_recurrence_problem p = describe_ssd(x, dt, a, b, c, o, own);
  contract<Arch> contract{"hydra"};
  check_recurrence(contract, p, shared, hydra_names[back]);
  check_steps(contract, p, own.D, hydra_names[back],
              back ? "options.dt_bias_back" : "options.dt_bias");
  if (back && options.D_token.given()) {
    p.token_skip = options.D_token;
    check_token_input(contract, "options.D_token", "[B, T, H]", p.token_skip, p, 1, 1, "C_back");
  }
  return {p, p.q.memory, contract.result(), ssd_list<Arch, X, B, C, O>};
}

template <class Verb>
struct hydra_forms {
  template <class Arch = simd::default_arch, class X, class DT, class A, class B, class C,
            class DT2, class B2, class C2, class O>
    requires ssd_tensors<X, DT, A, B, C, O> && ssd_tensors<X, DT2, A, B2, C2, O>
  auto operator()(const X& x, const DT& dt, const A& a, const B& b, const C& c, const DT2& dt_back,
                  const B2& b_back, const C2& c_back, const O& o, const hydra_options& options = {},
                  const context& ctx = {}) const {
    return Verb::of(
        both_directions<dispatch::call<Arch, matrix_recurrence_problem>>{
            bind_hydra<Arch>(x, dt, a, b, c, o, options, false),
            bind_hydra<Arch>(x, dt_back, a, b_back, c_back, o, options, true)},
        ctx);
  }
};

}  // namespace detail

/// The quasi-separable mixer of Hydra: a strictly lower triangle from an `ssd` over the tokens in
/// order, a strictly upper one from an `ssd` over them in reverse, and a diagonal of its own,
///
///     o = shift(ssd(x; dt, B, C)) + flip(shift(ssd(flip x; dt_back, B_back, C_back)))
///         + (D + D_token) x
///
/// with shift(y)_t = y_(t-1), 0 at the first token: a row reads with its neighbour's C what the
/// state held there. A is shared.
///
///     seqmix::hydra(x, dt, A, B, C, dt_back, B_back, C_back, o, {.D = d, .dt_softplus = true});
///
/// Shapes, types and strides are those of `ssd`. Flips and shifts are of each sequence by itself,
/// and cost nothing. The first direction is rounded to the type of `o` before the second is added.
/// The short convolution before and the gated norm behind are `depthwise_conv1d` and `output_norm`.
///
/// Work: 10 N P operations for each token and head. Errors: `seqmix::error` for every violated line
/// of this contract, with nothing written.
/// Paper: Hwang, Lahoti, Dao and Gu, "Hydra: Bidirectional State Space Models Through Generalized
/// Matrix Mixers", 2024.
struct hydra_fn : detail::hydra_forms<detail::run_call> {
  /// Which implementation the same call would run, for each direction. Runs nothing.
  static constexpr detail::hydra_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::hydra_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr hydra_fn hydra{};

/// The oracle: the same call, token by token in double.
struct naive_hydra_fn : detail::hydra_forms<detail::run_oracle> {};
inline constexpr naive_hydra_fn naive_hydra{};

SEQMIX_END_NAMESPACE
