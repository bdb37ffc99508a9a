// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/sequence.hpp>
#include <seqmix/common/time_axis.hpp>

SEQMIX_BEGIN_NAMESPACE

/// An optional input with a row of channels for each token: [B, T, D], or [total, D] beside packed
/// tensors and [B, D] beside those of single tokens.
struct scan_rows_view : any_view<3> {
  constexpr scan_rows_view() = default;
  template <view_of<3> X>
  constexpr scan_rows_view(const X& x) noexcept : any_view<3>(x) {}
  template <view_of<2> X>
  constexpr scan_rows_view(const X& x) noexcept : two_axes(true) {
    const any_view<2> v(x);
    data = v.data;
    type = v.type;
    extents = {1, v.extents[0], v.extents[1]};
    strides = {0, v.strides[0], v.strides[1]};
    memory = v.memory;
  }

  bool two_axes = false;
};

namespace detail {

/// Adds an axis of one part behind a tensor of real numbers.
template <class To, class From>
constexpr To with_parts_axis(const From& v) noexcept {
  To x;
  x.data = v.data;
  x.type = v.type;
  x.memory = v.memory;
  for (std::size_t a = 0; a < From::rank(); ++a) {
    x.extents[a] = v.extents[a];
    x.strides[a] = v.strides[a];
  }
  x.extents[From::rank()] = 1;
  return x;
}

}  // namespace detail

/// States to read: [NS, D, N], complex ones [NS, D, N, 2] with real and imaginary parts.
struct scan_states_view : any_view<4> {
  constexpr scan_states_view() = default;
  template <view_of<4> X>
  constexpr scan_states_view(const X& x) noexcept : any_view<4>(x) {}
  template <view_of<3> X>
  constexpr scan_states_view(const X& x) noexcept
      : any_view<4>(detail::with_parts_axis<any_view<4>>(any_view<3>(x))) {}
};

/// States to write, likewise.
struct scan_states_out : any_out<4> {
  constexpr scan_states_out() = default;
  template <mutable_view_of<4> X>
  constexpr scan_states_out(const X& x) noexcept : any_out<4>(x) {}
  template <mutable_view_of<3> X>
  constexpr scan_states_out(const X& x) noexcept
      : any_out<4>(detail::with_parts_axis<any_out<4>>(any_out<3>(x))) {}
};

/// Options of `selective_scan`. Members are only ever appended.
struct selective_scan_options {
  any_view<1> D{};                   ///< [D]: y gets D u; 0 when absent
  scan_rows_view z{};                ///< [B, T, D]: y is multiplied by z / (1 + e^-z)
  any_view<1> delta_bias{};          ///< [D]: added to delta
  bool delta_softplus = false;       ///< dt = log(1 + e^delta), which is delta above 20
  scan_states_view initial_state{};  ///< [NS, D, N], zeros when absent; a pool with slots
  scan_states_out final_state{};     ///< likewise; may be the initial state's own memory
  any_view<1> initial_slots{};  ///< [NS] int32 or int64, entries of a pool; -1 skips the sequence
  any_view<1> final_slots{};    ///< [NS]; the initial ones when absent
  scan_direction direction = scan_direction::forward;
  recurrence_varlen varlen{};
  bool accumulate = false;  ///< outputs are added to what y holds, before z
};

/// The descriptor of one call:
///
///     dt = delta + bias, or its softplus;  h = e^(dt A) h + dt B u,   y = (C . h + D u) silu(z)
///
/// Packed sequences appear with a batch axis of extent 1. What does not change along an axis has
/// stride 0 there. The last axis of A, B, C and states has one part, or two of complex numbers.
struct selective_scan_problem {
  static constexpr const char* operator_name = "selective_scan";

  any_view<3> u;      // [B, T, D]
  any_view<3> delta;  // [B, T, D]
  any_view<3> A;      // [D, N, parts]
  any_view<5> B;      // [B, T, G, N, parts]; those of each channel have G = D
  any_view<5> C;      // likewise
  any_out<3> y;       // [B, T, D]
  any_view<1> D;
  any_view<3> z;
  any_view<1> bias;
  bool softplus = false;
  bool accumulate = false;
  bool own_B = false;  // each channel has its own B
  bool own_C = false;

  any_view<4> initial_state;  // [NS or pool, D, N, parts]
  any_out<4> final_state;
  any_view<1> initial_slots;
  any_view<1> final_slots;
  const char* state_argument = "options.final_state";  // what errors call it

  bool packed = false;
  std::int64_t sequences = 0;
  any_view<1> offsets;  // [sequences + 1], packed only
  std::int64_t max_t = 0;
  bool reverse = false;

  constexpr std::int64_t channels() const noexcept { return u.extents[2]; }
  constexpr std::int64_t state_size() const noexcept { return A.extents[1]; }
  constexpr std::int64_t parts() const noexcept { return A.extents[2]; }
};

namespace detail {

SEQMIX_ALWAYS_INLINE sequence_place sequence_at(const selective_scan_problem& p,
                                                std::int64_t n) noexcept {
  return sequence_place_at(p, n, p.u.extents[1], p.reverse);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
