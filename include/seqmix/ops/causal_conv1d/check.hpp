// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/carried_states.hpp>
#include <seqmix/core/checks.hpp>
#include <seqmix/ops/causal_conv1d/problem.hpp>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The most taps that are supported and tested.
inline constexpr std::int64_t most_conv_taps = 64;

/// What both convolutions ask for. Completes the descriptor, but for `left`.
template <class Tag, class Options>
void check_conv1d(contract<Tag>& c, conv1d_problem& p, const Options& options) {
  p.bias = options.bias;
  p.activation = options.activation;
  p.residual = options.residual;
  p.sequences = p.x.extents[0];
  const std::int64_t D = p.channels();
  c.tensor("x", p.x).tensor("weight", p.weight).tensor("y", p.y);
  c.shape("y", p.y, p.x.extents, "[B, T, D]");
  c.in_range("weight.extent(W)", p.taps(), 1, most_conv_taps);
  c.shape("weight", p.weight, {D, p.taps()}, "[D, W]");
  c.real("weight", p.weight.type);
  if (p.bias.given()) {
    c.tensor("options.bias", p.bias).shape("options.bias", p.bias, {D}, "[D]");
    c.real("options.bias", p.bias.type);
    c.same_device("options.bias", p.bias.memory, "x", p.x.memory);
  }
  c.require(p.activation == conv_activation::none || p.activation == conv_activation::silu,
            "options.activation", "none or silu", static_cast<int>(p.activation));
  if (p.packed) {
    p.offsets = options.varlen.offsets;
    p.sequences = p.offsets.extents[0] - 1;
    c.offsets("options.varlen.offsets", p.offsets, p.tokens(), options.varlen.max_t,
              p.x.memory.on_host());
  } else {
    c.absent("options.varlen", options.varlen.offsets.given(), "only with packed tensors");
  }
  c.same_device("weight", p.weight.memory, "x", p.x.memory);
  c.same_device("y", p.y.memory, "x", p.x.memory);
  c.no_overlap("y", p.y, "x", p.x).no_overlap("y", p.y, "weight", p.weight);
  c.no_overlap("y", p.y, "options.bias", p.bias);
  c.no_self_overlap("y", p.y);
}

template <class Tag>
void check_conv1d_positions(contract<Tag>& c, const conv1d_problem& p) {
  constexpr const char* argument = "options.state_positions";
  if (!p.state_positions.given()) {
    return;
  }
  c.absent(argument, !p.initial_state.given() && !p.final_state.given(), "there is no state");
  c.index_vector(argument, p.state_positions, p.sequences, true);
  c.equal(argument, " entries", p.sequences, p.state_positions.extents[0]);
  for (std::int64_t n = 0; c.holds() && n < p.sequences; ++n) {
    const std::int64_t position = index_at(p.state_positions, n);
    c.require(position >= 0, argument, "positions of at least 0", position);
  }
}

/// The states of a causal convolution, by their names in the call.
template <class Tag>
void check_conv1d_states(contract<Tag>& c, const conv1d_problem& p, const char* initial,
                         const char* final) {
  const auto check = [&](const char* argument, const auto& x, bool pooled) {
    c.tensor(argument, x);
    const std::int64_t entries = pooled ? x.extents[0] : p.sequences;
    const std::int64_t length = p.state_length();
    c.require(length >= p.taps() - 1, argument, "at least W - 1 inputs for each channel", length);
    c.shape(argument, x, {entries, p.channels(), length}, pooled ? "[pool, D, L]" : "[N, D, L]");
    c.real(argument, x.type);
    c.same_device(argument, x.memory, "x", p.x.memory).no_overlap("y", p.y, argument, x);
  };
  check_carried_states(c, p, initial, final, check, [&](const char* argument) {
    c.no_overlap(argument, p.final_state, "x", p.x);
    c.no_overlap(argument, p.final_state, "weight", p.weight);
    c.no_overlap(argument, p.final_state, "options.bias", p.bias);
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
