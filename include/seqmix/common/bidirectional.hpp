// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/time_axis.hpp>
#include <seqmix/core/checks.hpp>
#include <seqmix/core/context.hpp>
#include <seqmix/simd/arch.hpp>

SEQMIX_BEGIN_NAMESPACE

/// An operator run both ways over its tokens, as the sum of the two:
///
///     seqmix::bidirectional(seqmix::gated_linear_attention)(q, k, v, g, o, options, context);
///
/// For every operator whose options have `direction` and `accumulate`; the options must be given.
/// Each token's own term is in both sums. The first is rounded to the type of `o` before the second
/// is added, and a gate z is applied to the sum. States belong to one direction and are left out:
/// `options` may not have any. Inputs that differ between the directions are two calls, the second
/// with `accumulate` and z.
template <class Op>
struct bidirectional {
  const Op& op;

  explicit constexpr bidirectional(const Op& an_operator) noexcept : op(an_operator) {}

  template <class... X>
  void operator()(const X&... x) const {
    detail::contract<simd::default_arch> c{"bidirectional"};
    (check(c, x), ...);
    if (const detail::violation broken = c.result()) {
      detail::report(*broken);
      return;
    }
    // Reports whatever is wrong with the second call before the first one writes.
    static_cast<void>(op.workspace_bytes(turned(x, scan_direction::reverse, true)...));
    op(turned(x, scan_direction::forward, false)...);
    op(turned(x, scan_direction::reverse, true)...);
  }

 private:
  template <class X>
  static constexpr bool is_options = requires(const X& x) {
    x.direction;
    x.accumulate;
    x.final_state;
  };

  template <class X>
  static void check(detail::contract<simd::default_arch>& c, const X& x) {
    if constexpr (is_options<X>) {
      const char* why = "the two directions would share it";
      c.absent("options.initial_state", x.initial_state.given(), why);
      c.absent("options.final_state", x.final_state.given(), why);
      if constexpr (requires { x.checkpoints; }) {
        c.absent("options.checkpoints", x.checkpoints.given(), why);
        c.absent("options.rollback", x.rollback.given(), why);
      }
      c.absent("options.direction", x.direction != scan_direction::forward, "both are run");
    }
  }

  template <class X>
  static decltype(auto) turned(const X& x, scan_direction direction, bool accumulate) {
    if constexpr (is_options<X>) {
      X y = x;
      y.direction = direction;
      y.accumulate = accumulate;
      if constexpr (requires { y.z; }) {
        if (!accumulate) {
          y.z = {};
        }
      }
      return y;
    } else {
      return static_cast<const X&>(x);
    }
  }
};

SEQMIX_END_NAMESPACE
