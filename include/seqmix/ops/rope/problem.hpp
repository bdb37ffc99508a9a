// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <seqmix/core/checks.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Which channels turn together. Both are in use and a model trained with one is garbage under the
/// other, so that there is no default.
enum class rope_layout {
  unspecified,
  interleaved,  ///< channels 2c and 2c + 1
  half_split,   ///< channels c and c + rotary_dims / 2
};

/// Options of `rope`. Members are only ever appended.
struct rope_options {
  rope_layout layout = rope_layout::unspecified;  ///< must be given
  double base = 10000;                            ///< angle of pair c: position base^(-2c / dims)
  std::int64_t rotary_dims = 0;                   ///< even; the channels that turn; 0: all
  any_view<2> positions{};           ///< [B, T] int32 or int64; 0, 1, 2, ... when not given
  std::int64_t position_offset = 0;  ///< added to every position
};

/// The descriptor of one call.
struct rope_problem {
  static constexpr const char* operator_name = "rope";

  any_view<4> x;  // [B, T, H, D]
  any_out<4> o;   // [B, T, H, D]
  any_view<2> positions;
  std::int64_t position_offset = 0;
  std::int64_t rotary_dims = 0;
  double base = 10000;
  rope_layout layout = rope_layout::unspecified;
};

namespace detail {

/// Checks the contract of a call and completes the descriptor.
template <class Tag>
violation check_rope(rope_problem& p, const rope_options& options, bool in_place) {
  contract<Tag> c{rope_problem::operator_name};
  c.tensor("x", p.x).tensor("o", p.o);
  c.shape("o", p.o, p.x.extents, "[B, T, H, D]");
  c.require(options.layout != rope_layout::unspecified, "options.layout",
            "interleaved or half_split", "none");
  c.require(std::isfinite(options.base) && options.base > 0, "options.base", "a positive number",
            options.base);
  p.rotary_dims = options.rotary_dims == 0 ? p.x.extents[3] : options.rotary_dims;
  c.in_range("options.rotary_dims", p.rotary_dims, 0, p.x.extents[3]);
  c.require(p.rotary_dims % 2 == 0, "options.rotary_dims", "an even number of channels",
            p.rotary_dims);
  if (options.positions.given()) {
    c.tensor("options.positions", options.positions);
    c.shape("options.positions", options.positions, {p.x.extents[0], p.x.extents[1]}, "[B, T]");
    c.require(
        options.positions.type == scalar_type::i32 || options.positions.type == scalar_type::i64,
        "options.positions", "element type i32 or i64", name(options.positions.type));
    c.same_device("options.positions", options.positions.memory, "x", p.x.memory);
  }
  c.same_device("o", p.o.memory, "x", p.x.memory);
  if (!in_place) {
    c.no_overlap("o", p.o, "x", p.x);
  }
  c.no_self_overlap("o", p.o);
  p.positions = options.positions;
  p.position_offset = options.position_offset;
  p.base = options.base;
  p.layout = options.layout;
  return c.result();
}

/// Position of token t of sequence b.
SEQMIX_ALWAYS_INLINE std::int64_t rope_position(const rope_problem& p, std::int64_t b,
                                                std::int64_t t) noexcept {
  if (!p.positions.given()) {
    return t + p.position_offset;
  }
  const std::int64_t at = b * p.positions.strides[0] + t * p.positions.strides[1];
  return p.position_offset + (p.positions.type == scalar_type::i32
                                  ? static_cast<const std::int32_t*>(p.positions.data)[at]
                                  : static_cast<const std::int64_t*>(p.positions.data)[at]);
}

/// The channels of pair c.
struct rope_pair {
  std::int64_t first, second;

  SEQMIX_ALWAYS_INLINE rope_pair(const rope_problem& p, std::int64_t c) noexcept
      : first(p.layout == rope_layout::interleaved ? 2 * c : c),
        second(p.layout == rope_layout::interleaved ? 2 * c + 1 : c + p.rotary_dims / 2) {}
};

}  // namespace detail

SEQMIX_END_NAMESPACE
