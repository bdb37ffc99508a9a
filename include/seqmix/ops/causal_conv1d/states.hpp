// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/causal_conv1d/inputs.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Writes the final states of one sequence.
template <class C, class Arch>
struct conv1d_states {
  const conv1d_problem& p;
  const conv1d_sequence& s;

  /// The entry of the final state that gets the input of time t.
  std::int64_t entry(std::int64_t t) const noexcept {
    const std::int64_t length = p.state_length();
    return p.state_positions.given() ? (s.position % length + length + t) % length
                                     : length + t - s.tokens;
  }

  bool in_place() const noexcept {
    return p.initial_state.data == p.final_state.data && s.initial == s.final;
  }

  /// Whether old inputs may go by way of C, to which a double state may be wider.
  bool through_rows() const noexcept {
    return s.tokens > 0 && (p.initial_state.type != scalar_type::f64 || std::is_same_v<C, double>);
  }

  /// Of channels [first, first + count), with `block` as room for some rows.
  void write(std::int64_t first, std::int64_t count, conv_block<C> block,
             std::int64_t rows) const noexcept {
    const std::int64_t begin = s.tokens - p.state_length();
    std::int64_t t = begin;
    if (begin < 0 && !through_rows()) {
      for (std::int64_t d = first; d < first + count; ++d) {
        move_old(d, begin);
      }
      t = 0;
    }
    // Ascending, so that an entry is read before it is written over.
    for (; t < s.tokens; t += rows) {
      block.begin = t;
      const std::int64_t end = std::min(t + rows, s.tokens);
      gather_rows<C, Arch>(p, s, end, first, count, block);
      store(first, count, block, end);
    }
  }

  /// The rows of times [block.begin, end), where a state ends with the last of them.
  void store(std::int64_t first, std::int64_t count, const conv_block<C>& block,
             std::int64_t end) const noexcept {
    const auto& to = p.final_state.strides;
    const std::int64_t length = p.state_length();
    const std::int64_t state = s.final * to[0] + first * to[1];
    if (end - block.begin == length && are_groups<C, Arch>(to[1], to[2], length, count)) {
      group_rows<const C> rows{};
      for (std::int64_t t = block.begin; t < end; ++t) {
        rows[static_cast<std::size_t>(entry(t))] = block.row(t);
      }
      store_groups<C, Arch>(rows, p.final_state.data, p.final_state.type, state, length, count,
                            block.flat, block.room);
      return;
    }
    for (std::int64_t t = block.begin; t < end; ++t) {
      store_line<C, Arch>(block.row(t), p.final_state.data, p.final_state.type,
                          state + entry(t) * to[2], to[1], count);
    }
  }

  /// What the sequence is too short to push out: the inputs of times [begin, 0), element by element
  /// and ascending.
  void move_old(std::int64_t d, std::int64_t begin) const noexcept {
    if (in_place() && (p.state_positions.given() || s.tokens == 0)) {
      return;
    }
    const auto& from = p.initial_state.strides;
    const auto& to = p.final_state.strides;
    for (std::int64_t t = begin; t < 0; ++t) {
      const std::int64_t target = s.final * to[0] + d * to[1] + entry(t) * to[2];
      const std::int64_t source =
          s.initial * from[0] + d * from[1] + conv1d_entry_before(p, s, t) * from[2];
      if (p.initial_state.given() && p.initial_state.type == p.final_state.type) {
        with_real_elements(p.final_state.data, p.final_state.type, [&]<class T>(T* data) {
          data[target] = static_cast<const T*>(p.initial_state.data)[source];
        });
      } else {
        set_real_element(
            p.final_state.data, p.final_state.type, target,
            p.initial_state.given()
                ? real_element<double>(p.initial_state.data, p.initial_state.type, source)
                : 0.0);
      }
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
