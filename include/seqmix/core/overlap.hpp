// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The bytes that a view touches: one run of `length` bytes at `begin`, repeated along `axes`.
struct footprint {
  struct axis {
    std::int64_t stride;  // bytes, positive
    std::int64_t extent;
  };
  std::intptr_t begin = 0;
  std::int64_t element = 0;
  std::array<axis, 8> axes{};
  std::size_t rank = 0;
  bool empty = true;
  bool repeats = false;  // a zero stride

  template <class Pointer, std::size_t Rank>
  static footprint of(const erased_view<Pointer, Rank>& v) noexcept {
    static_assert(Rank <= 8);
    footprint f;
    f.begin = reinterpret_cast<std::intptr_t>(v.data);
    f.element = static_cast<std::int64_t>(size_of(v.type));
    f.empty = v.size() == 0;
    for (std::size_t a = 0; a < Rank; ++a) {
      if (v.extents[a] <= 1) {
        continue;
      }
      const std::int64_t stride = v.strides[a] * f.element;
      if (stride == 0) {
        f.repeats = true;
        continue;
      }
      f.begin += stride < 0 ? stride * (v.extents[a] - 1) : 0;
      f.insert({stride < 0 ? -stride : stride, v.extents[a]});
    }
    return f;
  }

  /// Keeps the axes in the order of their strides.
  void insert(axis added) noexcept {
    std::size_t at = rank++;
    for (; at > 0 && axes[at - 1].stride > added.stride; --at) {
      axes[at] = axes[at - 1];
    }
    axes[at] = added;
  }

  /// Bytes from the first to past the last, counting only axes with strides below `limit`.
  std::int64_t span(std::int64_t limit) const noexcept {
    std::int64_t bytes = element;
    for (std::size_t a = 0; a < rank && axes[a].stride < limit; ++a) {
      bytes += axes[a].stride * (axes[a].extent - 1);
    }
    return bytes;
  }
};

/// Whether two elements of the view may share memory. Strides that do not nest count as sharing.
template <class Pointer, std::size_t Rank>
bool overlaps_itself(const erased_view<Pointer, Rank>& v) noexcept {
  const footprint f = footprint::of(v);
  if (f.empty) {
    return false;
  }
  bool overlaps = f.repeats;
  std::int64_t span = f.element;
  for (std::size_t a = 0; a < f.rank; ++a) {
    overlaps |= f.axes[a].stride < span;
    span += f.axes[a].stride * (f.axes[a].extent - 1);
  }
  return overlaps;
}

/// Whether two views may share memory. Exact for disjoint ranges and for slices of one buffer that
/// interleave with a common period (the q, k and v columns of a fused projection); anything more
/// tangled counts as sharing.
template <class P1, std::size_t R1, class P2, std::size_t R2>
bool overlap(const erased_view<P1, R1>& x, const erased_view<P2, R2>& y) noexcept {
  constexpr std::int64_t whole = INT64_MAX;
  const footprint a = footprint::of(x);
  const footprint b = footprint::of(y);
  if (a.empty || b.empty || a.begin + a.span(whole) <= b.begin ||
      b.begin + b.span(whole) <= a.begin) {
    return false;
  }
  for (const footprint* f : {&a, &b}) {
    for (std::size_t i = 0; i < f->rank; ++i) {
      // Axes from this stride on only shift by multiples of their common period.
      const std::int64_t limit = f->axes[i].stride;
      std::int64_t period = 0;
      for (const footprint* g : {&a, &b}) {
        for (std::size_t j = 0; j < g->rank; ++j) {
          period = g->axes[j].stride >= limit ? std::gcd(period, g->axes[j].stride) : period;
        }
      }
      const std::int64_t distance = ((b.begin - a.begin) % period + period) % period;
      if (a.span(limit) <= distance && distance + b.span(limit) <= period) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
