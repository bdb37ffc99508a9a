// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/checks.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What the initial and final states of sequences have in common, whatever they hold: slots of a
/// pool, and memory. `check(argument, states, pooled)` asks for the operator's own shape;
/// `check_apart(argument)` that the final states share no memory with the operator's inputs.
template <class Tag, class Problem, class Check, class CheckApart>
void check_carried_states(contract<Tag>& c, const Problem& p, const char* initial,
                          const char* final, Check&& check, CheckApart&& check_apart) {
  const bool pooled = p.initial_slots.given();
  const bool own_slots = p.final_slots.given();
  c.absent("options.initial_slots", pooled && !p.initial_state.given() && !p.final_state.given(),
           "there is no state that they could be entries of");
  c.absent("options.final_slots", own_slots && !p.final_state.given(), "there is no final state");
  if (p.initial_state.given()) {
    check(initial, p.initial_state, pooled);
    if (pooled) {
      c.slots("options.initial_slots", p.initial_slots, p.sequences, p.initial_state.extents[0],
              false);
    }
  }
  if (!p.final_state.given()) {
    return;
  }
  check(final, p.final_state, pooled || own_slots);
  if (pooled || own_slots) {
    c.slots(own_slots ? "options.final_slots" : "options.initial_slots",
            own_slots ? p.final_slots : p.initial_slots, p.sequences, p.final_state.extents[0],
            true);
  }
  c.no_self_overlap(final, p.final_state);
  check_apart(final);
  // The same states for both: each sequence reads its own before it writes it, if both agree on
  // where that is.
  const auto& from = p.initial_state;
  const bool same = from.data == p.final_state.data && from.type == p.final_state.type &&
                    from.extents == p.final_state.extents && from.strides == p.final_state.strides;
  const bool other_slots = own_slots && p.final_slots.data != p.initial_slots.data;
  if (from.given() && (!same || other_slots)) {
    c.no_overlap(final, p.final_state, initial, from);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
