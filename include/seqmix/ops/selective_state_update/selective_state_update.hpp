// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/selective_scan/selective_scan.hpp>
#include <seqmix/ops/selective_state_update/cpu.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class S>
concept scan_state = mutable_view_of<S, 3> && (real_scalar<typename S::element_type> ||
                                               std::same_as<typename S::element_type, std::int8_t>);

/// A tensor of one token for each sequence, [1, B, ...], as [B, 1, ...].
template <class View>
void tokens_to_sequences(View& x) noexcept {
  std::swap(x.extents[0], x.extents[1]);
  std::swap(x.strides[0], x.strides[1]);
}

template <class Arch, class S, class U, class Delta, class A, class B, class C, class Y>
dispatch::call<Arch, selective_state_update_problem> bind_selective_state_update(
    const S& state, const U& u, const Delta& delta, const A& a, const B& b, const C& c, const Y& y,
    selective_state_update_options options) {
  selective_state_update_problem p;
  p.state = state;
  describe_scan_tensors(p.scan, u, delta, a, b, c, y);
  if (U::rank() == 2) {
    tokens_to_sequences(p.scan.u);
    tokens_to_sequences(p.scan.delta);
    tokens_to_sequences(p.scan.y);
    tokens_to_sequences(p.scan.B);
    tokens_to_sequences(p.scan.C);
  }
  if (options.z.two_axes) {
    tokens_to_sequences(options.z);
  }
  violation broken = check_selective_state_update<Arch>(p, options);
  using compute = compute_type<typename S::element_type, scan_compute_type<U, Delta, A, B, C, Y>>;
  return {p, p.scan.u.memory, std::move(broken), selective_state_update_list<compute, Arch>};
}

template <class Verb>
struct selective_state_update_forms {
  template <class Arch = simd::default_arch, class S, class U, class Delta, class A, class B,
            class C, class Y>
    requires scan_state<S> && view_of<A, 2> && selective_scan_tensors<U, Delta, A, B, C, Y>
  auto operator()(const S& state, const U& u, const Delta& delta, const A& a, const B& b,
                  const C& c, const Y& y, const selective_state_update_options& options = {},
                  const context& ctx = {}) const {
    return Verb::of(bind_selective_state_update<Arch>(state, u, delta, a, b, c, y, options), ctx);
  }
};

}  // namespace detail

/// `selective_scan` over one token or a few, from a state and to it: what decoding calls.
///
///     selective_state_update(state, u, delta, A, B, C, y, options, context);
///
/// state [B, D, N], read and written; with `options.slots` entries of a pool [NS, D, N], of which
/// -1 skips the sequence. u, delta and y [B, T, D] with B and C [B, T, G, N], or one token each: u,
/// delta and y [B, D] with B and C [B, G, N]. A [D, N], real; B and C may be [D, N], as in
/// `selective_scan`, of which all else holds here. Equal to it up to rounding; made for a state
/// whose N numbers lie one after the other.
///
/// The state is float, double, f16, bf16 or int8; it is kept in float, in double when a tensor is
/// double, and rounded once, after the last token. A state of int8 comes with
/// `options.state_scale` [NS, D, N / block]: the numbers of a block are q scale, written as
///
///     scale = max |h| / 127,   q = h 127 / max |h| to the nearest, halves to even
///
/// so that a call moves a number by at most max |h| / 254, and a little for rounding: the numbers
/// of a block whose largest decays slowly should be of one size. Blocks below 2^-119 become zero,
/// and one with a number that is not finite becomes NaN. Nothing is random: the same call gives the
/// same bits.
///
/// Work: O(T D N) for each sequence; traffic: the state once in and once out, and A. Errors:
/// `seqmix::error` for every violated line of this contract, with nothing written. Paper: Gu and
/// Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.
struct selective_state_update_fn : detail::selective_state_update_forms<detail::run_call> {
  /// Which implementation the same call would run. Runs nothing.
  static constexpr detail::selective_state_update_forms<detail::explain_call> explain{};
  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::selective_state_update_forms<detail::measure_call> workspace_bytes{};
};
inline constexpr selective_state_update_fn selective_state_update{};

/// The oracle: the same call, token by token in double.
struct naive_selective_state_update_fn : detail::selective_state_update_forms<detail::run_oracle> {
};
inline constexpr naive_selective_state_update_fn naive_selective_state_update{};

SEQMIX_END_NAMESPACE
