// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/call_forms.hpp>
#include <seqmix/ops/prefix_softmax_scan/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

struct prefix_softmax_scan_operator {
  static constexpr const char* name = "prefix_softmax_scan";
  using options_type = scan_options;
  static constexpr int tensors = 3;
  template <class S, class V, class O>
  static constexpr bool takes =
      ((view_of<S, 3> && view_of<V, 4> && mutable_view_of<O, 4>) ||
       (view_of<S, 2> && view_of<V, 3> && mutable_view_of<O, 3>)) &&
      real_scalar<typename S::element_type> && real_scalar<typename V::element_type> &&
      real_scalar<typename O::element_type>;

  template <class Arch, class S, class V, class O>
  static auto bind(const scan_options& options, const S& scores, const V& v, const O& o) {
    const auto tensor = [](auto to, const auto& x) {
      to.data = x.data_handle();
      to.type = scalar_type_of<typename std::remove_cvref_t<decltype(x)>::element_type>;
      to.memory = x.memory();
      to.extents = {x.extent(0), 1, x.extent(1), x.extent(2), x.extent(3)};
      to.strides = {x.stride(0), 0, x.stride(1), x.stride(2), x.stride(3)};
      return to;
    };
    const auto s = as_tensor_view(scores);
    constexpr std::size_t batched = S::rank() == 3 ? 1 : 0;
    scan_problem p;
    p.packed = batched == 0;
    p.outputs[0] = tensor(any_out<5>{}, with_batch_axis(o));
    p.inputs[1] = tensor(any_view<5>{}, with_batch_axis(v));
    p.names[1] = "v";
    // The channels of a head have one score.
    p.inputs[0].data = s.data_handle();
    p.inputs[0].type = scalar_type_of<typename S::element_type>;
    p.inputs[0].memory = s.memory();
    p.inputs[0].extents = {batched == 1 ? s.extent(0) : 1, 1, s.extent(batched),
                           s.extent(batched + 1), p.channels()};
    p.inputs[0].strides = {batched == 1 ? s.stride(0) : 0, 0, s.stride(batched),
                           s.stride(batched + 1), 0};
    p.names[0] = "scores";
    p.head_states = true;
    p.state_numbers = 3;
    contract<Arch> c{name};
    check_own_scan_options(c, options, own_scan_options::none);
    check_scan(c, p, options);
    return scan_call<scan_types_of<S, V, O>, Arch, prefix_softmax_step,
                     &naive_prefix_softmax_scan<Arch>>(p, c);
  }
};

}  // namespace detail

/// The softmax mean of each prefix, for scores that do not depend on a query's token,
///
///     o_t = sum_(s <= t) e^scores_s v_s / sum_(s <= t) e^scores_s
///
///     prefix_softmax_scan(scores, v, o, options, context);
///
/// scores [B, T, H], v and o [B, T, H, V], or packed [total, H] and [total, H, V] with
/// `options.varlen`. States are [N, H, V + 2]: m, the largest score, u, the sum of e^(score - m),
/// and that of e^(score - m) v. A token with a score of -infinity is not there, whatever its v; o
/// of none is 0. Any strides; elements are float, double, f16 or bf16, each tensor its own; states
/// are kept in float, in double when a tensor is double. `o` shares no memory with an input. What
/// is not finite stays in its channel, of scores in its head.
///
/// Work: O(B T H V), with an exponential for each element. Errors: `seqmix::error`, with nothing
/// written. Feng et al., "Attention as an RNN", 2024.
struct prefix_softmax_scan_fn : detail::scan_operator<detail::prefix_softmax_scan_operator> {};
inline constexpr prefix_softmax_scan_fn prefix_softmax_scan{};

/// The oracle: the same call, token by token in double.
struct naive_prefix_softmax_scan_fn
    : detail::scan_forms<detail::run_oracle, detail::prefix_softmax_scan_operator> {};
inline constexpr naive_prefix_softmax_scan_fn naive_prefix_softmax_scan{};

SEQMIX_END_NAMESPACE
