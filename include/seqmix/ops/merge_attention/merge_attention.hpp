// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/merge_attention/cpu.hpp>
#include <seqmix/ops/merge_attention/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class O, class L>
concept attention_part = view_of<O, 4> && view_of<L, 3> && real_scalar<typename O::element_type> &&
                         real_scalar<typename L::element_type>;

template <class O, class L>
concept attention_parts = view_of<O, 5> && view_of<L, 4> && real_scalar<typename O::element_type> &&
                          real_scalar<typename L::element_type>;

template <class O>
concept attention_output = mutable_view_of<O, 4> && real_scalar<typename O::element_type>;

template <class X>
using stored = std::remove_const_t<typename X::element_type>;

template <class Arch, class OA, class LA, class OB, class LB, class O>
dispatch::call<Arch, merge_attention_problem> bind_merge(const OA& o_a, const LA& lse_a,
                                                         const OB& o_b, const LB& lse_b, const O& o,
                                                         const merge_attention_options& options) {
  merge_attention_problem p;
  p.first = {o_a, lse_a, 1};
  p.second = {o_b, lse_b, 1};
  p.o = o;
  violation broken = check_merge<Arch>(p, options);
  return {p, p.o.memory, std::move(broken),
          merge_attention_cpu_list<stored<OA>, stored<OB>, stored<O>, Arch>};
}

template <class Arch, class OP, class LP, class O>
dispatch::call<Arch, merge_attention_problem> bind_merge(const OP& o_parts, const LP& lse_parts,
                                                         const O& o,
                                                         const merge_attention_options& options) {
  const auto values = as_tensor_view(o_parts);
  const auto lse = as_tensor_view(lse_parts);
  merge_attention_problem p;
  p.first.o = tensor_view<typename OP::element_type, 4>(
      values.data_handle(),
      {values.extent(1), values.extent(2), values.extent(3), values.extent(4)},
      {values.stride(1), values.stride(2), values.stride(3), values.stride(4)}, values.memory());
  p.first.lse = tensor_view<typename LP::element_type, 3>(
      lse.data_handle(), {lse.extent(1), lse.extent(2), lse.extent(3)},
      {lse.stride(1), lse.stride(2), lse.stride(3)}, lse.memory());
  p.first.count = values.extent(0);
  p.first.o_step = values.stride(0);
  p.first.lse_step = lse.stride(0);
  p.o = o;
  violation broken = check_merge<Arch>(p, options);
  if (!broken && lse.extent(0) != values.extent(0)) {
    broken.emplace(merge_attention_problem::operator_name, "lse_parts",
                   std::to_string(values.extent(0)) + " parts, as o_parts has",
                   std::to_string(lse.extent(0)));
  }
  return {p, p.o.memory, std::move(broken),
          merge_attention_cpu_list<stored<OP>, stored<OP>, stored<O>, Arch>};
}

}  // namespace detail

/// Merges attention over disjoint sets of keys into attention over their union.
///
///     LSE = log sum_p e^(LSE_p),    o = sum_p e^(LSE_p - LSE) o_p
///
/// Two parts:  o_a, o_b [B, T, H, V], lse_a, lse_b [B, H, T], o [B, T, H, V]
/// P parts:    o_parts [P, B, T, H, V], lse_parts [P, B, H, T], o [B, T, H, V]
///
/// Log-sum-exps are natural, as `softmax_attention` gives them, float or double; o's are float,
/// double, f16 or bf16. A part with LSE = -inf is neutral and its values are not read. Associative
/// and commutative up to rounding, so that split, cascaded, offloaded and ring attention are one
/// primitive. Sets of keys that overlap are the caller's error. Any strides; outputs share no
/// memory with inputs.
///
/// Work: O(P B T H V). Errors: `seqmix::error`, with nothing written.
struct merge_attention_fn {
  template <class Arch = simd::default_arch, class OA, class LA, class OB, class LB, class O>
    requires detail::attention_part<OA, LA> && detail::attention_part<OB, LB> &&
             detail::attention_output<O>
  void operator()(const OA& o_a, const LA& lse_a, const OB& o_b, const LB& lse_b, const O& o,
                  const merge_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_merge<Arch>(o_a, lse_a, o_b, lse_b, o, options).run(ctx);
  }
  template <class Arch = simd::default_arch, class OP, class LP, class O>
    requires detail::attention_parts<OP, LP> && detail::attention_output<O>
  void operator()(const OP& o_parts, const LP& lse_parts, const O& o,
                  const merge_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_merge<Arch>(o_parts, lse_parts, o, options).run(ctx);
  }

  /// Which implementation the same call would run. Runs nothing.
  template <class Arch = simd::default_arch, class OA, class LA, class OB, class LB, class O>
    requires detail::attention_part<OA, LA> && detail::attention_part<OB, LB> &&
             detail::attention_output<O>
  dispatch_report explain(const OA& o_a, const LA& lse_a, const OB& o_b, const LB& lse_b,
                          const O& o, const merge_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_merge<Arch>(o_a, lse_a, o_b, lse_b, o, options).explain(ctx);
  }
  template <class Arch = simd::default_arch, class OP, class LP, class O>
    requires detail::attention_parts<OP, LP> && detail::attention_output<O>
  dispatch_report explain(const OP& o_parts, const LP& lse_parts, const O& o,
                          const merge_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_merge<Arch>(o_parts, lse_parts, o, options).explain(ctx);
  }

  /// The bytes of `context.workspace` that the same call needs.
  template <class Arch = simd::default_arch, class OA, class LA, class OB, class LB, class O>
    requires detail::attention_part<OA, LA> && detail::attention_part<OB, LB> &&
             detail::attention_output<O>
  std::size_t workspace_bytes(const OA& o_a, const LA& lse_a, const OB& o_b, const LB& lse_b,
                              const O& o, const merge_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_merge<Arch>(o_a, lse_a, o_b, lse_b, o, options).workspace_bytes(ctx);
  }
  template <class Arch = simd::default_arch, class OP, class LP, class O>
    requires detail::attention_parts<OP, LP> && detail::attention_output<O>
  std::size_t workspace_bytes(const OP& o_parts, const LP& lse_parts, const O& o,
                              const merge_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_merge<Arch>(o_parts, lse_parts, o, options).workspace_bytes(ctx);
  }
};

inline constexpr merge_attention_fn merge_attention{};

/// The oracle: the same calls, computed row by row in double.
struct naive_merge_attention_fn {
  template <class Arch = simd::default_arch, class OA, class LA, class OB, class LB, class O>
    requires detail::attention_part<OA, LA> && detail::attention_part<OB, LB> &&
             detail::attention_output<O>
  void operator()(const OA& o_a, const LA& lse_a, const OB& o_b, const LB& lse_b, const O& o,
                  const merge_attention_options& options = {}) const {
    detail::bind_merge<Arch>(o_a, lse_a, o_b, lse_b, o, options)
        .run({.pin = {.implementation = "naive"}});
  }
  template <class Arch = simd::default_arch, class OP, class LP, class O>
    requires detail::attention_parts<OP, LP> && detail::attention_output<O>
  void operator()(const OP& o_parts, const LP& lse_parts, const O& o,
                  const merge_attention_options& options = {}) const {
    detail::bind_merge<Arch>(o_parts, lse_parts, o, options)
        .run({.pin = {.implementation = "naive"}});
  }
};

inline constexpr naive_merge_attention_fn naive_merge_attention{};

SEQMIX_END_NAMESPACE
