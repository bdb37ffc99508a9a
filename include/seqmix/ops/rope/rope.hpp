// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/rope/cpu.hpp>
#include <seqmix/ops/rope/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class O>
concept rope_tensors =
    ((view_of<X, 4> && mutable_view_of<O, 4>) || (view_of<X, 3> && mutable_view_of<O, 3>)) &&
    real_scalar<typename X::element_type> && real_scalar<typename O::element_type>;

template <class Arch, class X, class O>
dispatch::call<Arch, rope_problem> bind_rope(const X& x, const O& o, const rope_options& options,
                                             bool in_place) {
  rope_problem p;
  p.x = with_batch_axis(x);
  p.o = with_batch_axis(o);
  violation broken = check_rope<Arch>(p, options, in_place);
  return {
      p, p.x.memory, std::move(broken),
      rope_cpu_list<std::remove_const_t<typename X::element_type>, typename O::element_type, Arch>};
}

}  // namespace detail

/// Rotary position embedding, 1-D, 2-D or with a dual index: turns each pair of channels by an
/// angle that grows with the token's position, so that a product of a query and a key depends on
/// the difference of their positions only.
///
///     angle(t, c) = position_t base^(-2c / rotary_dims),    c = 0 ... rotary_dims / 2 - 1
///     (x, y) -> (x cos - y sin, y cos + x sin)
///
/// That is `options.axes` one. The other two take a second position for each token,
/// `options.second_positions`, with a base of its own, `options.second_base`:
///
///     split: the equation above twice, with rotary_dims / 2 in place of rotary_dims:
///            position, base              for channels 0 ... rotary_dims / 2 - 1
///            second_position, base2      for channels rotary_dims / 2 ... rotary_dims - 1
///     sum:   angle(t, c) = position_t base^(-2c / rotary_dims)
///                          + second_position_t base2^(-2c / rotary_dims)
///
/// `options.position_offset` is added to the first positions only. With split, pairs are formed
/// within each half, and rotary_dims is a multiple of 4.
///
/// x and o [B, T, H, D], or packed [total, H, D] with positions [1, total]. Which channels form a
/// pair is `options.layout`, which must be given. Channels from rotary_dims on are copied. Negative
/// positions turn back. Elements are float, double, f16 or bf16; angles are computed in double.
/// Any strides; `o` shares no memory with x.
///
/// Work: O(B T (H + 1) D). Errors: `seqmix::error`, with nothing written. Su et al., "RoFormer:
/// Enhanced Transformer with Rotary Position Embedding", 2021.
struct rope_fn {
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::rope_tensors<X, O>
  void operator()(const X& x, const O& o, const rope_options& options,
                  const context& ctx = {}) const {
    detail::bind_rope<Arch>(x, o, options, false).run(ctx);
  }

  /// Which implementation the same call would run. Runs nothing.
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::rope_tensors<X, O>
  dispatch_report explain(const X& x, const O& o, const rope_options& options,
                          const context& ctx = {}) const {
    return detail::bind_rope<Arch>(x, o, options, false).explain(ctx);
  }

  /// The bytes of `context.workspace` that the same call needs.
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::rope_tensors<X, O>
  std::size_t workspace_bytes(const X& x, const O& o, const rope_options& options,
                              const context& ctx = {}) const {
    return detail::bind_rope<Arch>(x, o, options, false).workspace_bytes(ctx);
  }
};

inline constexpr rope_fn rope{};

/// `rope` with the result in x's own memory.
struct rope_inplace_fn {
  template <class Arch = simd::default_arch, class X>
    requires detail::rope_tensors<X, X>
  void operator()(const X& x, const rope_options& options, const context& ctx = {}) const {
    detail::bind_rope<Arch>(x, x, options, true).run(ctx);
  }

  template <class Arch = simd::default_arch, class X>
    requires detail::rope_tensors<X, X>
  dispatch_report explain(const X& x, const rope_options& options, const context& ctx = {}) const {
    return detail::bind_rope<Arch>(x, x, options, true).explain(ctx);
  }

  template <class Arch = simd::default_arch, class X>
    requires detail::rope_tensors<X, X>
  std::size_t workspace_bytes(const X& x, const rope_options& options,
                              const context& ctx = {}) const {
    return detail::bind_rope<Arch>(x, x, options, true).workspace_bytes(ctx);
  }
};

inline constexpr rope_inplace_fn rope_inplace{};

/// The oracle: the same call, computed pair by pair in double.
struct naive_rope_fn {
  template <class Arch = simd::default_arch, class X, class O>
    requires detail::rope_tensors<X, O>
  void operator()(const X& x, const O& o, const rope_options& options) const {
    detail::bind_rope<Arch>(x, o, options, false).run({.pin = {.implementation = "naive"}});
  }
};

inline constexpr naive_rope_fn naive_rope{};

SEQMIX_END_NAMESPACE
