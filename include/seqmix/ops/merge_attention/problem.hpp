// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/checks.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Options of `merge_attention`. Members are only ever appended.
struct merge_attention_options {
  any_out<3> lse{};  ///< [B, H, T]: log-sum-exp of the union
};

/// Partial results that lie at a fixed distance from each other.
struct merge_parts {
  any_view<4> o;            // [B, T, H, V], the first part
  any_view<3> lse;          // [B, H, T]
  std::int64_t count = 0;   // parts
  std::int64_t o_step = 0;  // elements from part to part
  std::int64_t lse_step = 0;
};

/// The descriptor of one call: all parts of `first`, then all of `second`.
struct merge_attention_problem {
  static constexpr const char* operator_name = "merge_attention";

  merge_parts first;
  merge_parts second;
  any_out<4> o;    // [B, T, H, V]
  any_out<3> lse;  // [B, H, T]

  constexpr std::int64_t parts() const noexcept { return first.count + second.count; }
};

namespace detail {

/// The address range of all parts, for the overlap check.
template <std::size_t Rank>
any_view<Rank + 1> with_part_axis(const any_view<Rank>& v, std::int64_t count,
                                  std::int64_t step) noexcept {
  any_view<Rank + 1> all;
  all.data = v.data;
  all.type = v.type;
  all.memory = v.memory;
  all.extents[0] = count;
  all.strides[0] = step;
  for (std::size_t a = 0; a < Rank; ++a) {
    all.extents[a + 1] = v.extents[a];
    all.strides[a + 1] = v.strides[a];
  }
  return all;
}

/// Checks the contract of a call and completes the descriptor.
template <class Tag>
violation check_merge(merge_attention_problem& p, const merge_attention_options& options) {
  contract<Tag> c{merge_attention_problem::operator_name};
  const bool two = p.second.count != 0;
  const auto& e = p.o.extents;
  c.tensor("o", p.o).no_self_overlap("o", p.o);
  p.lse = options.lse;
  if (p.lse.given()) {
    c.tensor("options.lse", p.lse).no_self_overlap("options.lse", p.lse);
    c.shape("options.lse", p.lse, {e[0], e[2], e[1]}, "[B, H, T]");
    c.require(p.lse.type == scalar_type::f32 || p.lse.type == scalar_type::f64, "options.lse",
              "element type f32 or f64", name(p.lse.type));
    c.same_device("options.lse", p.lse.memory, "o", p.o.memory);
    c.no_overlap("options.lse", p.lse, "o", p.o);
  }
  const auto part = [&](const merge_parts& parts, const char* o_name, const char* lse_name) {
    c.require(parts.count >= 0, o_name, "at least 0 parts", parts.count);
    c.tensor(o_name, parts.o).tensor(lse_name, parts.lse);
    c.shape(o_name, parts.o, e, "[B, T, H, V]");
    c.shape(lse_name, parts.lse, {e[0], e[2], e[1]}, "[B, H, T]");
    c.require(parts.lse.type == scalar_type::f32 || parts.lse.type == scalar_type::f64, lse_name,
              "element type f32 or f64", name(parts.lse.type));
    c.same_device(o_name, parts.o.memory, "o", p.o.memory);
    c.same_device(lse_name, parts.lse.memory, "o", p.o.memory);
    const auto all_o = with_part_axis(parts.o, parts.count, parts.o_step);
    const auto all_lse = with_part_axis(parts.lse, parts.count, parts.lse_step);
    c.no_overlap("o", p.o, o_name, all_o).no_overlap("o", p.o, lse_name, all_lse);
    c.no_overlap("options.lse", p.lse, o_name, all_o);
    c.no_overlap("options.lse", p.lse, lse_name, all_lse);
  };
  part(p.first, two ? "o_a" : "o_parts", two ? "lse_a" : "lse_parts");
  if (two) {
    part(p.second, "o_b", "lse_b");
  }
  return c.result();
}

/// The parts of one (batch, token, head) row, in their order.
template <class TA, class TB>
struct merge_row {
  const merge_attention_problem& p;
  std::int64_t b, t, h;

  SEQMIX_ALWAYS_INLINE double lse(std::int64_t part) const noexcept {
    const bool in_first = part < p.first.count;
    const merge_parts& m = in_first ? p.first : p.second;
    const std::int64_t at = (in_first ? part : part - p.first.count) * m.lse_step +
                            b * m.lse.strides[0] + h * m.lse.strides[1] + t * m.lse.strides[2];
    return m.lse.type == scalar_type::f64 ? static_cast<const double*>(m.lse.data)[at]
                                          : static_cast<const float*>(m.lse.data)[at];
  }

  /// Calls `f(pointer to the part's values, stride)`.
  template <class F>
  SEQMIX_ALWAYS_INLINE void values(std::int64_t part, F&& f) const noexcept {
    if (part < p.first.count) {
      f(at<TA>(p.first, part), p.first.o.strides[3]);
    } else {
      f(at<TB>(p.second, part - p.first.count), p.second.o.strides[3]);
    }
  }

 private:
  template <class T>
  SEQMIX_ALWAYS_INLINE const T* at(const merge_parts& m, std::int64_t part) const noexcept {
    return static_cast<const T*>(m.o.data) + part * m.o_step + b * m.o.strides[0] +
           t * m.o.strides[1] + h * m.o.strides[2];
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
