// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/tokens.hpp>

// Outputs on their way out of the recurrence.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A block's outputs for the values [begin, end) of value head hv.
template <class C, class Arch>
struct output_block {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  const matrix_recurrence_problem& p;
  const recurrence_sequence& s;
  std::int64_t hv;
  std::int64_t first;  // tokens [first, first + count)
  std::int64_t count;
  std::int64_t begin;
  std::int64_t end;
  const token_rows<C, Arch>& rows;

  void store() const noexcept {
    with_real_elements(p.o.data, p.o.type, [&](auto* out) __attribute__((always_inline)) {
      if (p.finishes_outputs()) {
        finish(out);
        return;
      }
      for (std::int64_t t = 0; t < count; ++t) {
        simd::store_row<C, Arch>(rows.o + t * rows.values + begin, factor(t),
                                 out + row_at(first + t), p.o.strides[3], begin, end, end - begin);
      }
    });
  }

 private:
  std::int64_t row_at(std::int64_t t) const noexcept {
    return s.batch * p.o.strides[0] + s.place(t) * p.o.strides[1] + hv * p.o.strides[2];
  }
  C factor(std::int64_t t) const noexcept { return p.normalise ? rows.factor[t] : C(1); }

  /// The rows that this block's outputs stand at; of shifted ones also the sequence's first row.
  template <class T>
  void finish(T* out) const noexcept {
    const std::int64_t shift = p.shift_outputs ? 1 : 0;
    const std::int64_t last = first + count + shift < s.tokens ? first + count + shift : s.tokens;
    for (std::int64_t t = first == 0 ? 0 : first + shift; t < last; ++t) {
      C* row = rows.last;
      const std::int64_t from = t - shift - first;
      const C* o = rows.o + from * rows.values;
      for (std::int64_t i = begin; i < end; i += w) {
        (from < 0 ? V(C(0)) : V::load_aligned(o + i) * V(factor(from))).store_aligned(row + i);
      }
      if (p.accumulate) {
        simd::load_row<C, Arch>(out + row_at(t), p.o.strides[3], begin, end, C(1), other() + begin,
                                end - begin);
        over(row, [](V x, V held) { return x + held; });
      }
      add_skips(t, row);
      if (p.z.given()) {
        load(p.z, t);
        over(row, [](V x, V z) { return x * (z * simd::logistic<C, Arch>(z)); });
      }
      simd::store_row<C, Arch>(row + begin, C(1), out + row_at(t), p.o.strides[3], begin, end,
                               end - begin);
    }
  }

  void add_skips(std::int64_t t, C* row) const noexcept {
    const bool of_values = p.skip.given() && p.skip.extents[3] > 1;
    if (p.token_skip.given() || (p.skip.given() && !of_values)) {
      const V d((p.token_skip.given() ? number(p.token_skip, t) : C(0)) +
                (p.skip.given() && !of_values ? number(p.skip, t) : C(0)));
      load(p.v, t);
      over(row, [&](V x, V v) { return simd::fma(d, v, x); });
    }
    if (of_values) {
      load(p.v, t);
      with_real_elements(p.skip.data, p.skip.type, [&](const auto* d) {
        d += hv * p.skip.strides[2];
        for (std::int64_t i = begin; i < end; i += w) {
          const V x = simd::load_strided<C, Arch>(d, p.skip.strides[3], i, end);
          simd::fma(x, V::load_aligned(other() + i), V::load_aligned(row + i))
              .store_aligned(row + i);
        }
      });
    }
  }

  C* other() const noexcept { return rows.last + rows.values; }
  C number(const any_view<4>& x, std::int64_t t) const noexcept {
    return token_number<C, Arch>(x, s.batch, s.place(t), hv);
  }
  void load(const any_view<4>& x, std::int64_t t) const noexcept {
    load_token_row<C, Arch>(x, s.batch, s.place(t), hv, rows.values, other());
  }
  template <class F>
  void over(C* row, F&& f) const noexcept {
    for (std::int64_t i = begin; i < end; i += w) {
      f(V::load_aligned(row + i), V::load_aligned(other() + i)).store_aligned(row + i);
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
