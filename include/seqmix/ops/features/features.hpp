// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/features/cpu.hpp>
#include <seqmix/ops/features/projection.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class O>
concept features_tensors =
    ((view_of<X, 4> && mutable_view_of<O, 4>) || (view_of<X, 3> && mutable_view_of<O, 3>)) &&
    real_scalar<typename X::element_type> && real_scalar<typename O::element_type>;

template <class Arch, class X, class O>
dispatch::call<Arch, features_problem> bind_features(const X& x, const O& o,
                                                     const features_options& options) {
  features_problem p;
  p.x = with_batch_axis(x);
  p.o = with_batch_axis(o);
  violation broken = check_features_call<Arch>(p, options);
  return {p, p.x.memory, std::move(broken),
          features_cpu_list<std::remove_const_t<typename X::element_type>, typename O::element_type,
                            Arch>};
}

/// The forms of a call, for any of what it can be asked for.
template <class Verb>
struct features_forms {
  template <class Arch = simd::default_arch, class X, class O>
    requires features_tensors<X, O>
  auto operator()(const X& x, const O& o, const features_options& options,
                  const context& ctx = {}) const {
    return Verb::of(bind_features<Arch>(x, o, options), ctx);
  }
};

}  // namespace detail

/// The features of rows, o = phi(x): what `linear_attention` makes of its queries and keys with
/// `options.features`, on its own.
///
///     features(x, o, {.map = feature_map::relu}, context);
///     features(x, o, {.map = taylor2_features{.symmetric = true}}, context);
///
/// x [B, T, H, K] and o [B, T, H, F], or packed [total, H, ...], where F is
/// `feature_count(map, K)`. Maps: `feature_map` has their equations, and a struct for each that has
/// parameters. Token t has position t, or `first` + t, for the map that asks for one, also in
/// packed tensors. K and F are 1 to 512.
///
/// Elements are float, double, f16 or bf16, those of parameters any of them; features are computed
/// in float, in double when x or o is double. Any strides; `o` shares no memory with an input. NaN
/// and infinities reach their own row only.
///
/// Work: O(B T H F), times K where a matrix is applied. Errors: `seqmix::error`, with nothing
/// written.
struct features_fn : detail::features_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::features_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::features_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr features_fn features{};

/// The oracle: the same call, row by row in double.
struct naive_features_fn : detail::features_forms<detail::run_oracle> {};
inline constexpr naive_features_fn naive_features{};

SEQMIX_END_NAMESPACE
