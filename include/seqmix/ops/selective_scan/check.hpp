// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/common/carried_states.hpp>
#include <seqmix/ops/selective_scan/problem.hpp>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The largest state of a channel that is supported and tested.
inline constexpr std::int64_t largest_scan_state = 256;

/// An input of real numbers that no output may reach.
template <class Tag, std::size_t Rank>
void check_scan_input(contract<Tag>& c, const char* argument, const any_view<Rank>& x,
                      const selective_scan_problem& p) {
  c.real(argument, x.type).same_device(argument, x.memory, "u", p.u.memory);
  c.no_overlap("y", p.y, argument, x);
  if (p.final_state.given()) {
    c.no_overlap(p.state_argument, p.final_state, argument, x);
  }
}

/// B or C: [B, T, G, N, parts]; those of a channel alone have strides of 0 along the tokens.
template <class Tag>
void check_scan_projection(contract<Tag>& c, const char* argument, const any_view<5>& x, bool own,
                           const selective_scan_problem& p) {
  const auto [B, T, D] = p.u.extents;
  const std::int64_t N = p.state_size();
  c.tensor(argument, x);
  if (own) {
    c.shape(argument, x, {B, T, D, N, p.parts()}, "[D, N], as [B, T, D, N, parts]");
  } else {
    const std::int64_t G = x.extents[2];
    c.shape(argument, x, {B, T, G, N, p.parts()}, "[B, T, G, N, parts]");
    if (c.holds() && (G == 0 ? D != 0 : D % G != 0)) {
      c.fail(argument, "a number of groups that divides D = " + std::to_string(D),
             std::to_string(G));
    }
  }
  check_scan_input(c, argument, x, p);
}

template <class Tag>
void check_scan_states(contract<Tag>& c, const selective_scan_problem& p) {
  const auto check = [&](const char* argument, const auto& x, bool pooled) {
    c.tensor(argument, x);
    const std::int64_t entries = pooled ? x.extents[0] : p.sequences;
    c.shape(argument, x, {entries, p.channels(), p.state_size(), p.parts()},
            pooled ? "[pool, D, N, parts]" : "[NS, D, N, parts]");
    c.real(argument, x.type);
    c.same_device(argument, x.memory, "u", p.u.memory).no_overlap("y", p.y, argument, x);
  };
  // Inputs were compared with the final state as they were checked.
  check_carried_states(c, p, "options.initial_state", "options.final_state", check,
                       [](const char*) {});
}

/// Takes what the options say beside states and sequences into the descriptor.
template <class Options>
void describe_scan(selective_scan_problem& p, const Options& options) noexcept {
  p.D = options.D;
  p.z = options.z;
  p.bias = options.delta_bias;
  p.softplus = options.delta_softplus;
  p.sequences = p.u.extents[0];
}

/// All but states and sequences.
template <class Tag>
void check_scan_tensors(contract<Tag>& c, const selective_scan_problem& p) {
  c.tensor("u", p.u).tensor("delta", p.delta).tensor("A", p.A).tensor("y", p.y);
  c.shape("delta", p.delta, p.u.extents, "[B, T, D]").shape("y", p.y, p.u.extents, "[B, T, D]");
  c.in_range("A.extent(N)", p.state_size(), 1, largest_scan_state);
  c.shape("A", p.A, {p.channels(), p.state_size(), p.parts()}, "[D, N, parts]");
  c.require(p.parts() == 1 || p.parts() == 2, "A", "real numbers, or [D, N, 2] of complex ones",
            p.parts());
  c.same_device("y", p.y.memory, "u", p.u.memory).no_self_overlap("y", p.y);
  for (const auto& [argument, x] :
       {std::pair{"u", &p.u}, std::pair{"delta", &p.delta}, std::pair{"A", &p.A}}) {
    check_scan_input(c, argument, *x, p);
  }
  check_scan_projection(c, "B", p.B, p.own_B, p);
  check_scan_projection(c, "C", p.C, p.own_C, p);
  c.require(p.own_B || p.own_C || p.B.extents[2] == p.C.extents[2], "C", "as many groups as B",
            p.C.extents[2]);
  const auto vector = [&](const char* argument, const any_view<1>& x) {
    if (x.given()) {
      c.tensor(argument, x).shape(argument, x, {p.channels()}, "[D]");
      check_scan_input(c, argument, x, p);
    }
  };
  vector("options.D", p.D);
  vector("options.delta_bias", p.bias);
  if (p.z.given()) {
    c.tensor("options.z", p.z).shape("options.z", p.z, p.u.extents, "[B, T, D]");
    check_scan_input(c, "options.z", p.z, p);
  }
}

/// Completes a descriptor whose tensors and `packed` are set, and checks the contract.
template <class Tag>
violation check_selective_scan(selective_scan_problem& p, const selective_scan_options& options) {
  contract<Tag> c{selective_scan_problem::operator_name};
  describe_scan(p, options);
  p.initial_state = options.initial_state;
  p.final_state = options.final_state;
  p.initial_slots = options.initial_slots;
  p.final_slots = options.final_slots;
  p.reverse = options.direction == scan_direction::reverse;
  p.accumulate = options.accumulate;
  if (p.packed) {
    p.offsets = options.varlen.offsets;
    p.max_t = options.varlen.max_t;
    p.sequences = p.offsets.extents[0] - 1;
  }
  check_scan_tensors(c, p);
  if (p.packed) {
    c.offsets("options.varlen.offsets", p.offsets, p.u.extents[1], p.max_t, p.u.memory.on_host());
  } else {
    c.absent("options.varlen", options.varlen.offsets.given(), "only with packed tensors");
  }
  if (c.holds()) {
    check_scan_states(c, p);
  }
  return c.result();
}

}  // namespace detail

SEQMIX_END_NAMESPACE
