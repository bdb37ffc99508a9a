// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <seqmix/core/convert.hpp>
#include <seqmix/simd/interleave.hpp>
#include <seqmix/simd/load.hpp>

// Few neighbours for each channel, as weights [D, W] and states [D, L] lie, into a row of channels
// for each of them, and back.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

inline constexpr int most_in_a_group = 4;

/// Where the i-th of each group goes or comes from; null: it is not wanted.
template <class C>
using group_rows = std::array<C*, most_in_a_group>;

/// Groups that registers can take apart: `length` neighbours for each of `n` channels.
template <class C, class Arch>
SEQMIX_ALWAYS_INLINE bool are_groups(std::int64_t channel_stride, std::int64_t stride,
                                     std::int64_t length, std::int64_t n) noexcept {
  return stride == 1 && channel_stride == length && length >= 2 && length <= most_in_a_group &&
         n >= simd::lanes<C, Arch>;
}

/// Calls f(constant<length>).
template <class F>
SEQMIX_ALWAYS_INLINE void with_group_length(std::int64_t length, F&& f) noexcept {
  switch (length) {
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    default:
      return f(std::integral_constant<int, 4>{});
  }
}

/// The groups of `n` channels, at least a register of them, from `at` on; the last register ends
/// with the last channel. `flat` has room for `room` elements of the compute type.
template <class C, class Arch>
void load_groups(const void* data, scalar_type type, std::int64_t at, std::int64_t length,
                 std::int64_t n, const group_rows<C>& rows, C* flat, std::int64_t room) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t most = room / length / w * w;
  for (std::int64_t first = 0; first < n; first += most) {
    first = std::min(first, std::max(n - w, std::int64_t{0}));
    const std::int64_t count = std::min(most, n - first);
    const C* from = static_cast<const C*>(data) + at + first * length;
    if (type != scalar_type_of<C>) {
      with_real_elements(data, type, [&](const auto* elements) __attribute__((always_inline)) {
        simd::load_row<C, Arch>(elements + at + first * length, 1, 0, count * length, C(1), flat,
                                count * length);
      });
      from = flat;
    }
    with_group_length(length, [&](auto L) __attribute__((always_inline)) {
      for (std::int64_t next = 0; next < count; next += w) {
        const std::int64_t d = std::min(next, count - w);
        V x[L];
        V row[L];
        simd::unroll<L>([&](auto i) __attribute__((always_inline)) {
          x[i] = V::load_unaligned(from + d * L + i * w);
        });
        simd::split<L, C, Arch>(x, row);
        simd::unroll<L>([&](auto i) __attribute__((always_inline)) {
          if (rows[i] != nullptr) {
            row[i].store_unaligned(rows[i] + first + d);
          }
        });
      }
    });
  }
}

/// The counterpart; every row is given.
template <class C, class Arch>
void store_groups(const group_rows<const C>& rows, void* data, scalar_type type, std::int64_t at,
                  std::int64_t length, std::int64_t n, C* flat, std::int64_t room) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t most = room / length / w * w;
  for (std::int64_t first = 0; first < n; first += most) {
    first = std::min(first, std::max(n - w, std::int64_t{0}));
    const std::int64_t count = std::min(most, n - first);
    const bool direct = type == scalar_type_of<C>;
    C* to = direct ? static_cast<C*>(data) + at + first * length : flat;
    with_group_length(length, [&](auto L) __attribute__((always_inline)) {
      for (std::int64_t next = 0; next < count; next += w) {
        const std::int64_t d = std::min(next, count - w);
        V row[L];
        V x[L];
        simd::unroll<L>([&](auto i) __attribute__((always_inline)) {
          row[i] = V::load_unaligned(rows[i] + first + d);
        });
        simd::merge<L, C, Arch>(row, x);
        simd::unroll<L>([&](auto i) __attribute__((always_inline)) {
          x[i].store_unaligned(to + d * L + i * w);
        });
      }
    });
    if (!direct) {
      with_real_elements(data, type, [&](auto* elements) __attribute__((always_inline)) {
        simd::store_row<C, Arch>(flat, C(1), elements + at + first * length, 1, 0, count * length,
                                 count * length);
      });
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
