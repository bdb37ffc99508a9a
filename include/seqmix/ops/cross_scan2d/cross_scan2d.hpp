// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/ops/cross_scan2d/naive.hpp>
#include <seqmix/ops/elementwise_scan/call_forms.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Both axes of time from their ends.
template <class T>
constexpr tensor_view<T, 4> turned_around(const tensor_view<T, 4>& x) noexcept {
  const auto last = [&](std::size_t axis) {
    return x.extent(axis) > 0 ? (x.extent(axis) - 1) * x.stride(axis) : 0;
  };
  return {x.data_handle() == nullptr ? nullptr : x.data_handle() + last(1) + last(2),
          x.extents(),
          {x.stride(0), -x.stride(1), -x.stride(2), x.stride(3)},
          x.memory()};
}

struct cross_merge2d_operator {
  static constexpr const char* name = "cross_merge2d";
  using options_type = scan_options;
  static constexpr int tensors = 5;
  template <class... X>
  static constexpr bool takes =
      (view_of<X, 4> && ...) && (real_scalar<typename X::element_type> && ...);

  /// A map with its rows as heads of a scan, so that they are tasks of their own.
  template <class View, class X>
  static View rows_of(const X& x) noexcept {
    View y;
    y.data = x.data_handle();
    y.type = scalar_type_of<typename X::element_type>;
    y.memory = x.memory();
    y.extents = {x.extent(0), 1, x.extent(2), x.extent(1), x.extent(3)};
    y.strides = {x.stride(0), 0, x.stride(2), x.stride(1), x.stride(3)};
    return y;
  }

  template <class Arch, class R, class C, class RB, class CB, class O>
    requires mutable_view_of<O, 4>
  static auto bind(const scan_options& options, const R& rows, const C& columns,
                   const RB& rows_back, const CB& columns_back, const O& o) {
    scan_problem p;
    p.outputs[0] = rows_of<any_out<5>>(as_tensor_view(o));
    const auto add = [&](std::size_t i, const char* argument, const auto& x) {
      p.inputs[i] = rows_of<any_view<5>>(x);
      p.names[i] = argument;
    };
    add(0, "rows", as_tensor_view(rows));
    add(1, "columns", as_tensor_view(columns).template permuted<0, 2, 1, 3>());
    add(2, "rows_back", turned_around(as_tensor_view(rows_back)));
    add(3, "columns_back",
        turned_around(as_tensor_view(columns_back)).template permuted<0, 2, 1, 3>());
    contract<Arch> c{name};
    c.absent("options.initial_state", options.initial_state.given(), "a merge has no state");
    c.absent("options.final_state", options.final_state.given(), "a merge has no state");
    c.absent("options.direction", options.direction != scan_direction::forward,
             "a merge has no direction");
    check_own_scan_options(c, options, own_scan_options::none);
    check_scan(c, p, options);
    return scan_call<scan_types_of<R, C, RB, CB, O>, Arch, sum_of_four_step,
                     &naive_cross_merge2d<Arch>>(p, c);
  }
};

}  // namespace detail

/// The four sequences of a map [B, Hy, Wx, D], as views [B, T1, T2, D] of it that a scan runs over,
/// T2 fastest: by rows, by columns, and both from the last token to the first. Nothing is copied.
///
///     for (const auto& s : cross_scan2d(x)) ...
///
/// A scan may write what it makes of sequence i of one map to sequence i of another:
///
///     elementwise_scan(cross_scan2d(a)[i], cross_scan2d(b)[i], cross_scan2d(h)[i]);
///
/// Liu et al., "VMamba: Visual State Space Model", 2024.
struct cross_scan2d_fn {
  template <view_of<4> X>
  constexpr auto operator()(const X& x) const noexcept {
    const auto rows = as_tensor_view(x);
    const auto columns = rows.template permuted<0, 2, 1, 3>();
    return std::array{rows, columns, detail::turned_around(rows), detail::turned_around(columns)};
  }
};
inline constexpr cross_scan2d_fn cross_scan2d{};

/// The way back from the four sequences of `cross_scan2d` to one map: each element's place in each
/// of them, and the sum,
///
///     o(y, x) = rows(y, x) + columns(x, y) + rows_back(Hy-1-y, Wx-1-x)
///               + columns_back(Wx-1-x, Hy-1-y)
///
///     cross_merge2d(rows, columns, rows_back, columns_back, o, {}, context);
///
/// rows and rows_back [B, Hy, Wx, D], columns and columns_back [B, Wx, Hy, D], o [B, Hy, Wx, D]:
/// sequences in tensors of their own, [B, Hy Wx, D], are such views too. Of the sequences of one
/// map x it makes 4 x. Any strides; elements are float, double, f16 or bf16, each tensor its own;
/// sums are kept in float, in double when a tensor is double. `o` shares no memory with an input.
/// NaN stays at its place. No option applies.
///
/// Work: O(B Hy Wx D). Errors: `seqmix::error`, with nothing written.
struct cross_merge2d_fn : detail::scan_operator<detail::cross_merge2d_operator> {};
inline constexpr cross_merge2d_fn cross_merge2d{};

/// The oracle: the same call in double.
struct naive_cross_merge2d_fn
    : detail::scan_forms<detail::run_oracle, detail::cross_merge2d_operator> {};
inline constexpr naive_cross_merge2d_fn naive_cross_merge2d{};

SEQMIX_END_NAMESPACE
