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

/// Which positions turn a pair. With two of them, the first is `positions` (or the token index)
/// plus `position_offset`, and the second is `second_positions`.
enum class rope_axes {
  one,    ///< the first position alone
  split,  ///< 2-D: the first position turns the first rotary_dims / 2 channels, the second the
          ///< others
  sum,    ///< dual-index: both turn every pair, each by a base of its own, and the angles add up
};

/// Options of `rope`. Members are only ever appended.
struct rope_options {
  rope_layout layout = rope_layout::unspecified;  ///< must be given
  double base = 10000;                            ///< angle of pair c: position base^(-2c / dims)
  std::int64_t rotary_dims = 0;                   ///< even; the channels that turn; 0: all
  any_view<2> positions{};           ///< [B, T] int32 or int64; 0, 1, 2, ... when not given
  std::int64_t position_offset = 0;  ///< added to every first position
  rope_axes axes = rope_axes::one;
  any_view<2> second_positions{};  ///< [B, T] int32 or int64; given exactly with split and sum
  double second_base = 0;          ///< base of the second positions; 0: that of the first
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
  rope_axes axes = rope_axes::one;
  any_view<2> second_positions;
  double second_base = 10000;
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
  const auto check_positions = [&](const char* argument, const any_view<2>& positions) {
    if (positions.given()) {
      c.tensor(argument, positions);
      c.shape(argument, positions, {p.x.extents[0], p.x.extents[1]}, "[B, T]");
      c.require(positions.type == scalar_type::i32 || positions.type == scalar_type::i64, argument,
                "element type i32 or i64", name(positions.type));
      c.same_device(argument, positions.memory, "x", p.x.memory);
    }
  };
  check_positions("options.positions", options.positions);
  c.require(options.axes == rope_axes::one || options.axes == rope_axes::split ||
                options.axes == rope_axes::sum,
            "options.axes", "one, split or sum", static_cast<int>(options.axes));
  if (options.axes == rope_axes::one) {
    c.absent("options.second_positions", options.second_positions.given(), "options.axes is one");
    c.absent("options.second_base", options.second_base != 0, "options.axes is one");
  } else {
    c.require(options.axes != rope_axes::split || p.rotary_dims % 4 == 0, "options.rotary_dims",
              "a multiple of 4, as options.axes is split", p.rotary_dims);
    // The positions of no token at all may be a null pointer.
    const bool no_token = p.x.extents[0] == 0 || p.x.extents[1] == 0;
    c.require(options.second_positions.given() || no_token, "options.second_positions",
              "positions [B, T], as options.axes is split or sum", "none");
    check_positions("options.second_positions", options.second_positions);
    c.require(std::isfinite(options.second_base) && options.second_base >= 0, "options.second_base",
              "a positive number, or 0 for that of options.base", options.second_base);
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
  p.axes = options.axes;
  p.second_positions = options.second_positions;
  p.second_base = options.second_base == 0 ? options.base : options.second_base;
  return c.result();
}

SEQMIX_ALWAYS_INLINE std::int64_t position_at(const any_view<2>& positions, std::int64_t b,
                                              std::int64_t t) noexcept {
  const std::int64_t at = b * positions.strides[0] + t * positions.strides[1];
  return positions.type == scalar_type::i32 ? static_cast<const std::int32_t*>(positions.data)[at]
                                            : static_cast<const std::int64_t*>(positions.data)[at];
}

/// First position of token t of sequence b.
SEQMIX_ALWAYS_INLINE std::int64_t rope_position(const rope_problem& p, std::int64_t b,
                                                std::int64_t t) noexcept {
  return p.position_offset + (p.positions.given() ? position_at(p.positions, b, t) : t);
}

/// How many rotary embeddings stand side by side in the rotary channels.
SEQMIX_ALWAYS_INLINE std::int64_t rope_parts(const rope_problem& p) noexcept {
  return p.axes == rope_axes::split ? 2 : 1;
}

/// The channels of pair c of a rotary embedding of `channels` channels.
struct rope_pair {
  std::int64_t first, second;

  SEQMIX_ALWAYS_INLINE rope_pair(rope_layout layout, std::int64_t channels, std::int64_t c) noexcept
      : first(layout == rope_layout::interleaved ? 2 * c : c),
        second(layout == rope_layout::interleaved ? 2 * c + 1 : c + channels / 2) {}
};

}  // namespace detail

SEQMIX_END_NAMESPACE
