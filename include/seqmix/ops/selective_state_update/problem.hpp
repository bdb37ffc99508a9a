// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/ops/selective_scan/check.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Options of `selective_state_update`. Members are only ever appended.
struct selective_state_update_options {
  any_view<1> D{};              ///< [D]: y gets D u; 0 when absent
  scan_rows_view z{};           ///< [B, T, D] or [B, D]: y is multiplied by z / (1 + e^-z)
  any_view<1> delta_bias{};     ///< [D]: added to delta
  bool delta_softplus = false;  ///< dt = log(1 + e^delta), which is delta above 20
  any_view<1> slots{};          ///< [B] int32 or int64, entries of a pool; -1 skips the sequence
  any_out<3> state_scale{};     ///< [NS, D, N / block] of float: what int8 states are multiplied by
};

/// The descriptor of one call: a scan from a state to the same state.
struct selective_state_update_problem {
  static constexpr const char* operator_name = "selective_state_update";

  selective_scan_problem scan;  // without states
  any_out<3> state;             // [B or pool, D, N]
  any_out<3> scale;             // [B or pool, D, N / block], of int8

  constexpr bool quantised() const noexcept { return state.type == scalar_type::i8; }
  constexpr std::int64_t block() const noexcept { return scan.state_size() / scale.extents[2]; }
};

namespace detail {

template <class Tag>
violation check_selective_state_update(selective_state_update_problem& p,
                                       const selective_state_update_options& options) {
  contract<Tag> c{selective_state_update_problem::operator_name};
  selective_scan_problem& s = p.scan;
  describe_scan(s, options);
  s.initial_slots = options.slots;
  s.state_argument = "state";
  s.final_state = with_parts_axis<any_out<4>>(p.state);
  p.scale = options.state_scale;
  check_scan_tensors(c, s);
  c.tensor("state", p.state);
  const std::int64_t entries = options.slots.given() ? p.state.extents[0] : s.sequences;
  c.shape("state", p.state, {entries, s.channels(), s.state_size()},
          options.slots.given() ? "[pool, D, N]" : "[B, D, N]");
  c.require(p.quantised() || !is_integral(p.state.type), "state",
            "element type f32, f64, f16, bf16 or i8", name(p.state.type));
  c.same_device("state", p.state.memory, "u", s.u.memory).no_overlap("y", s.y, "state", p.state);
  c.no_self_overlap("state", p.state);
  if (options.slots.given()) {
    c.slots("options.slots", options.slots, s.sequences, entries, true);
  }
  constexpr const char* scale = "options.state_scale";
  if (!p.quantised()) {
    c.absent(scale, p.scale.given(), "the state is not of int8");
    return c.result();
  }
  c.tensor(scale, p.scale);
  c.require(p.scale.type == scalar_type::f32, scale, "element type f32, beside a state of int8",
            name(p.scale.type));
  const std::int64_t blocks = p.scale.extents[2];
  if (c.holds() && (blocks < 1 || s.state_size() % blocks != 0)) {
    c.fail(scale, "a number of blocks that divides N = " + std::to_string(s.state_size()),
           std::to_string(blocks));
  }
  c.shape(scale, p.scale, {entries, s.channels(), blocks}, "[B or pool, D, N / block]");
  c.same_device(scale, p.scale.memory, "u", s.u.memory).no_self_overlap(scale, p.scale);
  c.no_overlap("y", s.y, scale, p.scale).no_overlap("state", p.state, scale, p.scale);
  for (const auto& [argument, x] : {std::pair{"u", &s.u}, std::pair{"delta", &s.delta},
                                    std::pair{"A", &s.A}, std::pair{"options.z", &s.z}}) {
    c.no_overlap(scale, p.scale, argument, *x);
  }
  c.no_overlap(scale, p.scale, "B", s.B).no_overlap(scale, p.scale, "C", s.C);
  c.no_overlap(scale, p.scale, "options.D", s.D);
  c.no_overlap(scale, p.scale, "options.delta_bias", s.bias);
  return c.result();
}

}  // namespace detail

SEQMIX_END_NAMESPACE
