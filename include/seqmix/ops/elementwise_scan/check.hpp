// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <seqmix/common/carried_states.hpp>
#include <seqmix/core/overlap.hpp>
#include <seqmix/ops/elementwise_scan/problem.hpp>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The most modes of a channel that are supported and tested.
inline constexpr std::int64_t largest_scan_modes = 256;

/// Calls `f(argument, view)` for all inputs that a scan has.
template <class F>
void for_each_scan_input(const scan_problem& p, F&& f) {
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    if (p.names[i] != nullptr) {
      f(p.names[i], p.inputs[i]);
    }
  }
  for (std::size_t i = 0; i < p.parameters.size(); ++i) {
    if (p.parameter_names[i] != nullptr) {
      f(p.parameter_names[i], p.parameters[i]);
    }
  }
}

template <class Tag>
void check_scan_states(contract<Tag>& c, const scan_problem& p) {
  const auto check = [&](const char* argument, const auto& x, bool pooled) {
    c.tensor(argument, x);
    const std::int64_t entries = pooled ? x.extents[0] : p.sequences;
    const std::int64_t rows = p.head_states ? p.heads() : p.channels();
    const std::int64_t numbers = p.state_numbers + (p.head_states ? p.channels() - 1 : 0);
    c.shape(argument, x, {entries, rows, numbers},
            pooled ? (p.head_states ? "[pool, H, V + 2]" : "[pool, D, S]")
                   : (p.head_states ? "[N, H, V + 2]" : "[N, D, S]"));
    c.real(argument, x.type);
    c.same_device(argument, x.memory, p.names[0], p.inputs[0].memory);
    for (const any_out<5>& o : p.outputs) {
      c.no_overlap("o", o, argument, x);
    }
  };
  check_carried_states(c, p, "options.initial_state", "options.final_state", check,
                       [&](const char* argument) {
                         for_each_scan_input(p, [&](const char* other, const auto& x) {
                           c.no_overlap(argument, p.final_state, other, x);
                         });
                       });
}

/// Whether two tensors are the parts of complex numbers that share no memory, side by side or not.
template <class Tag>
bool are_parts_of_one(const any_out<5>& re, const any_out<5>& im) noexcept {
  const auto distance =
      reinterpret_cast<std::intptr_t>(im.data) - reinterpret_cast<std::intptr_t>(re.data);
  const auto size = static_cast<std::intptr_t>(size_of(re.type));
  if (re.type != im.type || re.strides != im.strides || size == 0 || distance % size != 0) {
    return false;
  }
  any_out<6> both;
  both.data = re.data;
  both.type = re.type;
  std::copy_n(re.extents.begin(), 5, both.extents.begin());
  std::copy_n(re.strides.begin(), 5, both.strides.begin());
  both.extents[5] = 2;
  both.strides[5] = distance / size;
  return !overlaps_itself(both);
}

/// Checks what all scans have in common, and completes the descriptor with it.
template <class Tag>
void check_scan(contract<Tag>& c, scan_problem& p, const scan_options& options) {
  p.exclusive = options.exclusive;
  p.accumulate = options.accumulate;
  p.initial_state = options.initial_state;
  p.final_state = options.final_state;
  p.initial_slots = options.initial_slots;
  p.final_slots = options.final_slots;
  p.direction = options.direction;
  p.sequences = p.out().extents[0];
  const device where = p.inputs[0].memory;
  c.tensor("o", p.out()).same_device("o", p.out().memory, p.names[0], where);
  for (std::size_t i = 0; i < p.inputs.size(); ++i) {
    if (p.names[i] != nullptr) {
      c.tensor(p.names[i], p.inputs[i]);
      c.shape(p.names[i], p.inputs[i], p.out().extents, "[B, T1, T2, H, D], as o");
    }
  }
  for_each_scan_input(p, [&](const char* argument, const auto& x) {
    c.tensor(argument, x).real(argument, x.type);
    c.same_device(argument, x.memory, p.names[0], where);
    for (const any_out<5>& o : p.outputs) {
      c.no_overlap("o", o, argument, x);
    }
  });
  c.no_self_overlap("o", p.outputs[0]);
  if (!are_parts_of_one<Tag>(p.outputs[0], p.outputs[1])) {
    c.no_overlap("o", p.outputs[0], "o", p.outputs[1]);
  }
  c.require(p.direction == scan_direction::forward || p.direction == scan_direction::reverse,
            "options.direction", "forward or reverse", "another value");
  if (p.packed) {
    p.offsets = options.varlen.offsets;
    p.sequences = p.offsets.extents[0] - 1;
    c.offsets("options.varlen.offsets", p.offsets, p.tokens(), options.varlen.max_t,
              where.on_host());
  } else {
    c.absent("options.varlen", options.varlen.offsets.given(), "only with packed tensors");
  }
  if (c.holds()) {
    check_scan_states(c, p);
  }
}

/// Which options of one operator alone it honours.
enum class own_scan_options { monoid, tied, sharpness, candidates, step, none };

/// Refuses what belongs to other operators.
template <class Tag>
void check_own_scan_options(contract<Tag>& c, const scan_options& options, own_scan_options own) {
  const scan_options other;
  const auto refuse = [&](own_scan_options of, const char* argument, bool given, const char* why) {
    c.absent(argument, given && own != of, why);
  };
  using own_of = own_scan_options;
  constexpr const char* scan = "of elementwise_scan only";
  refuse(own_of::monoid, "options.monoid", options.monoid != other.monoid, scan);
  refuse(own_of::monoid, "options.exclusive", options.exclusive, scan);
  refuse(own_of::tied, "options.tied", options.tied != other.tied, "of hgrn only");
  refuse(own_of::sharpness, "options.sharpness", options.sharpness != other.sharpness,
         "of rg_lru only");
  refuse(own_of::candidates, "options.candidates", options.candidates != other.candidates,
         "of min_gru only");
  refuse(own_of::step, "options.skip", options.skip.given(), "of diagonal_ssm only");
  refuse(own_of::step, "options.step", options.step.given(), "of diagonal_ssm only");
}

/// Parameters of a scan: a number, or `numbers` of them, for each channel and mode.
template <class Tag>
void check_scan_parameters(contract<Tag>& c, const scan_problem& p, std::int64_t modes,
                           std::int64_t numbers) {
  for (std::size_t i = 0; i < p.parameters.size(); ++i) {
    if (p.parameter_names[i] != nullptr) {
      const std::int64_t own = p.parameters[i].extents[2] == 1 ? 1 : numbers;
      c.shape(p.parameter_names[i], p.parameters[i],
              {p.channels(), own == 1 && numbers != 1 ? 1 : modes, own},
              numbers == 1 ? "[D, N, 1]" : "[D, N, 2]");
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
