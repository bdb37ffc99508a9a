// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
    return p.state_positions.given() ? (s.position + length + t) % length : length + t - s.tokens;
  }

  bool in_place() const noexcept {
    return p.initial_state.data == p.final_state.data && s.initial == s.final;
  }

  /// Of channels [first, first + count); `rows` has room for as many rows of `step` elements.
  void write(std::int64_t first, std::int64_t count, C* rows, std::int64_t row_count,
             std::int64_t step) const noexcept {
    const std::int64_t length = p.state_length();
    const std::int64_t begin = s.tokens - length;
    if (begin < 0 && !(in_place() && (p.state_positions.given() || s.tokens == 0))) {
      for (std::int64_t d = first; d < first + count; ++d) {
        move_old(d, begin);
      }
    }
    const auto& to = p.final_state.strides;
    for (std::int64_t t = std::max<std::int64_t>(begin, 0); t < s.tokens; t += row_count) {
      const std::int64_t n = std::min(row_count, s.tokens - t);
      gather_rows<C, Arch>(p, s, t, t + n, first, count, rows, step);
      for (std::int64_t i = 0; i < n; ++i) {
        store_line<C, Arch>(rows + i * step, p.final_state.data, p.final_state.type,
                            s.final * to[0] + first * to[1] + entry(t + i) * to[2], to[1], count);
      }
    }
  }

  /// What the sequence is too short to push out: the inputs of times [begin, 0), ascending, so that
  /// an entry is read before it is written over. Not by way of C, which may be narrower.
  void move_old(std::int64_t d, std::int64_t begin) const noexcept {
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
