// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/causal_conv1d/problem.hpp>
#include <seqmix/simd/load.hpp>

// Inputs on their way into the sums and out of them: from here on nothing knows strides, element
// types, states or the ends of sequences.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// `n` elements from `at` on, `stride` apart, into whole registers, zeros behind the last.
template <class C, class Arch>
void load_line(const void* data, scalar_type type, std::int64_t at, std::int64_t stride,
               std::int64_t n, C* out) noexcept {
  with_real_elements(data, type, [&](const auto* first) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < n; i += simd::lanes<C, Arch>) {
      simd::load_strided<C, Arch>(first + at, stride, i, n).store_unaligned(out + i);
    }
  });
}

/// The counterpart.
template <class C, class Arch>
void store_line(const C* line, void* data, scalar_type type, std::int64_t at, std::int64_t stride,
                std::int64_t n) noexcept {
  using V = simd::vec<C, Arch>;
  with_real_elements(data, type, [&](auto* first) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < n; i += simd::lanes<C, Arch>) {
      simd::store_strided<C, Arch>(V::load_unaligned(line + i), first + at, stride, i, n);
    }
  });
}

/// Channels [first, first + count) of the inputs of times [begin, end) of a sequence, a row for
/// each time: before the sequence those of its state, zeros beyond both.
template <class C, class Arch>
void gather_rows(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t begin,
                 std::int64_t end, std::int64_t first, std::int64_t count, C* rows,
                 std::int64_t step) noexcept {
  for (std::int64_t t = begin; t < end; ++t, rows += step) {
    if (t >= 0 && t < s.tokens) {
      const auto& at = p.x.strides;
      load_line<C, Arch>(p.x.data, p.x.type,
                         s.batch * at[0] + (s.begin + t) * at[1] + first * at[2], at[2], count,
                         rows);
    } else if (t < 0 && p.initial_state.given()) {
      const auto& at = p.initial_state.strides;
      load_line<C, Arch>(p.initial_state.data, p.initial_state.type,
                         s.initial * at[0] + first * at[1] + conv1d_entry_before(p, s, t) * at[2],
                         at[1], count, rows);
    } else {
      std::fill_n(rows,
                  (count + simd::lanes<C, Arch> - 1) / simd::lanes<C, Arch> * simd::lanes<C, Arch>,
                  C(0));
    }
  }
}

/// The inputs of times [begin, end) of one channel, side by side, likewise.
template <class C, class Arch>
void gather_times(const conv1d_problem& p, const conv1d_sequence& s, std::int64_t begin,
                  std::int64_t end, std::int64_t d, C* line) noexcept {
  std::int64_t t = begin;
  for (; t < end && t < 0; ++t) {
    const auto& at = p.initial_state.strides;
    *line++ =
        !p.initial_state.given()
            ? C(0)
            : real_element<C>(p.initial_state.data, p.initial_state.type,
                              s.initial * at[0] + d * at[1] + conv1d_entry_before(p, s, t) * at[2]);
  }
  const std::int64_t own = std::min(end, s.tokens) - t;
  if (own > 0) {
    const auto& at = p.x.strides;
    load_line<C, Arch>(p.x.data, p.x.type, s.batch * at[0] + (s.begin + t) * at[1] + d * at[2],
                       at[1], own, line);
    line += own;
    t += own;
  }
  std::fill_n(line, end - t, C(0));
}

}  // namespace detail

SEQMIX_END_NAMESPACE
