// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Where one sequence's tokens lie, and its states.
struct sequence_place {
  std::int64_t index;
  std::int64_t batch;
  std::int64_t begin;  // on the time axis
  std::int64_t tokens;
  std::int64_t initial;  // entry of the initial states; -1: the sequence is skipped
  std::int64_t final;
  bool reverse;

  SEQMIX_ALWAYS_INLINE bool skipped() const noexcept { return initial < 0 || final < 0; }
  /// The place on the time axis of the t-th token in the order of the operator.
  SEQMIX_ALWAYS_INLINE std::int64_t place(std::int64_t t) const noexcept {
    return begin + (reverse ? tokens - 1 - t : t);
  }
};

/// Sequence n of a problem with packed sequences and slots of states; `tokens` are those of each
/// sequence that is not packed.
template <class Problem>
SEQMIX_ALWAYS_INLINE sequence_place sequence_place_at(const Problem& p, std::int64_t n,
                                                      std::int64_t tokens, bool reverse) noexcept {
  sequence_place s{n, n, 0, tokens, n, n, reverse};
  if (p.packed) {
    s.batch = 0;
    s.begin = index_at(p.offsets, n);
    s.tokens = index_at(p.offsets, n + 1) - s.begin;
  }
  if (p.initial_slots.given()) {
    s.initial = s.final = index_at(p.initial_slots, n);
  }
  if (p.final_slots.given()) {
    s.final = index_at(p.final_slots, n);
  }
  return s;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
