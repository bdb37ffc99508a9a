// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/causal_conv1d/groups.hpp>
#include <seqmix/ops/causal_conv1d/problem.hpp>

// Inputs on their way into the sums and out of them: from here on nothing knows strides, element
// types, states or the ends of sequences.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

SEQMIX_ALWAYS_INLINE constexpr std::int64_t parts_of(std::int64_t whole,
                                                     std::int64_t part) noexcept {
  return (whole + part - 1) / part;
}

/// `n` elements from `at` on, `stride` apart, into whole aligned registers, zeros behind the last.
template <class C, class Arch>
void load_line(const void* data, scalar_type type, std::int64_t at, std::int64_t stride,
               std::int64_t n, C* out) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  with_real_elements(data, type, [&](const auto* first) __attribute__((always_inline)) {
    simd::load_row<C, Arch>(first + at, stride, 0, n, C(1), out, parts_of(n, w) * w);
  });
}

/// The counterpart.
template <class C, class Arch>
void store_line(const C* line, void* data, scalar_type type, std::int64_t at, std::int64_t stride,
                std::int64_t n) noexcept {
  with_real_elements(data, type, [&](auto* first) __attribute__((always_inline)) {
    simd::store_row<C, Arch>(line, C(1), first + at, stride, 0, n, n);
  });
}

/// Rows of channels, one for each time from `begin` on.
template <class C>
struct conv_block {
  C* rows;
  std::int64_t step;
  std::int64_t begin;
  C* flat;  // scratch
  std::int64_t room;

  C* row(std::int64_t t) const noexcept { return rows + (t - begin) * step; }
};

/// Channels [first, first + count) of the inputs of times [block.begin, end) of a sequence: before
/// the sequence those of its state, zeros beyond both.
template <class C, class Arch>
void gather_rows(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t end,
                 std::int64_t first, std::int64_t count, const conv_block<C>& block) noexcept {
  const auto& from = p.initial_state.strides;
  const std::int64_t length = p.state_length();
  const std::int64_t state = s.initial * from[0] + first * from[1];
  std::int64_t t = block.begin;
  if (t < 0 && p.initial_state.given() && end >= 0 &&
      are_groups<C, Arch>(from[1], from[2], length, count)) {
    group_rows<C> rows{};
    for (t = -length; t < 0; ++t) {
      const auto entry = static_cast<std::size_t>(conv1d_entry_before(p, s, t));
      rows[entry] = t < block.begin ? nullptr : block.row(t);
    }
    load_groups<C, Arch>(p.initial_state.data, p.initial_state.type, state, length, count, rows,
                         block.flat, block.room);
  }
  for (; t < end; ++t) {
    if (t >= 0 && t < s.tokens) {
      const auto& at = p.x.strides;
      load_line<C, Arch>(p.x.data, p.x.type,
                         s.batch * at[0] + (s.begin + t) * at[1] + first * at[2], at[2], count,
                         block.row(t));
    } else if (t < 0 && p.initial_state.given()) {
      load_line<C, Arch>(p.initial_state.data, p.initial_state.type,
                         state + conv1d_entry_before(p, s, t) * from[2], from[1], count,
                         block.row(t));
    } else {
      constexpr std::int64_t w = simd::lanes<C, Arch>;
      std::fill_n(block.row(t), parts_of(count, w) * w, C(0));
    }
  }
}

/// The inputs of times [begin, end) of one channel, side by side, likewise, at the pointer that is
/// returned: `line` is aligned and has room for a register more.
template <class C, class Arch>
C* gather_times(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t begin,
                std::int64_t end, std::int64_t d, C* line) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t own = std::max(begin, std::int64_t{0});
  // What comes before the sequence lies before the first aligned register.
  line += parts_of(own - begin, w) * w - (own - begin);
  for (std::int64_t t = begin; t < own; ++t) {
    const auto& at = p.initial_state.strides;
    line[t - begin] =
        !p.initial_state.given()
            ? C(0)
            : real_element<C>(p.initial_state.data, p.initial_state.type,
                              s.initial * at[0] + d * at[1] + conv1d_entry_before(p, s, t) * at[2]);
  }
  const std::int64_t past = std::max(std::min(end, s.tokens), own);
  const auto& at = p.x.strides;
  load_line<C, Arch>(p.x.data, p.x.type, s.batch * at[0] + (s.begin + own) * at[1] + d * at[2],
                     at[1], past - own, line + (own - begin));
  std::fill_n(line + (past - begin), end - past, C(0));
  return line;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
