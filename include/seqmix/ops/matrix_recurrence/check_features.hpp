// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/feature_check.hpp>
#include <seqmix/ops/matrix_recurrence/problem.hpp>

// The contract of what linear attention alone has: feature maps and the denominator.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

SEQMIX_ALWAYS_INLINE bool is_linear_attention(const matrix_recurrence_problem& p) noexcept {
  return p.decay == state_decay::none && p.update == state_update::none;
}

/// Puts the maps into the descriptor. With one, the state has a row for each feature.
template <class Tag>
void check_features(contract<Tag>& c, matrix_recurrence_problem& p,
                    const recurrence_options& options) {
  p.features = options.features;
  p.key_features = options.key_features.value_or(options.features);
  const bool mapped =
      p.features.map != feature_map::identity || p.key_features.map != feature_map::identity;
  if (!c.holds() || !mapped) {
    return;
  }
  const char* why = "only linear_attention has it";
  const bool plain = is_linear_attention(p);
  c.absent("options.features", !plain && p.features.map != feature_map::identity, why);
  c.absent("options.key_features", !plain, why);
  std::int64_t longest = p.packed ? p.max_t : p.q.extents[1];
  for (std::int64_t n = 0; p.packed && p.offsets.memory.on_host() && n < p.sequences; ++n) {
    const std::int64_t tokens = recurrence_sequence_at(p, n).tokens;
    longest = tokens > longest ? tokens : longest;
  }
  const std::int64_t K = p.q.extents[3];
  const auto check = [&](const char* argument, const any_feature_map& f) {
    check_feature_map(c, argument, f, longest, p.key_heads(), K, p.q.memory);
    check_apart(c, "o", p.o, argument, f);
    check_apart(c, "options.final_state", options.final_state, argument, f);
    check_apart(c, "options.final_normaliser", options.final_normaliser, argument, f);
    check_apart(c, "options.checkpoints", options.checkpoints, argument, f);
    check_apart(c, "options.rollback", options.rollback, argument, f);
  };
  check("options.features", p.features);
  if (options.key_features.has_value()) {
    check("options.key_features", p.key_features);
  }
  // Each query would have a scale of its own.
  c.require(!p.features.query_maximum || options.normalise, "options.features",
            "options.normalise beside query_maximum", "none");
  if (c.holds()) {
    p.feature_dim = feature_count(p.features, K);
    c.equal("options.key_features", " features, as q has", p.feature_dim,
            feature_count(p.key_features, K));
  }
}

/// The denominator.
template <class Tag>
void check_normaliser(contract<Tag>& c, const matrix_recurrence_problem& p) {
  const bool plain = is_linear_attention(p);
  const char* why = plain ? "options.normalise is off" : "only linear_attention has it";
  c.absent("options.normalise", !plain && p.normalise, why);
  c.require(std::isfinite(p.normalise_eps), "options.normalise_eps", "a finite number",
            p.normalise_eps);
  const auto check = [&](const char* argument, const auto& z) {
    if (!z.given()) {
      return;
    }
    c.absent(argument, !p.normalise, why);
    c.tensor(argument, z);
    c.shape(argument, z, {p.sequences, p.value_heads(), p.key_dim()}, "[N, HV, K]");
    c.real(argument, z.type);
    c.same_device(argument, z.memory, "q", p.q.memory).no_overlap("o", p.o, argument, z);
  };
  check("options.initial_normaliser", p.initial_normaliser);
  check("options.final_normaliser", p.final_normaliser);
  c.absent("options.initial_slots", p.normalise && p.initial_slots.given(),
           "not with a denominator yet");
  if (p.final_normaliser.given()) {
    constexpr const char* argument = "options.final_normaliser";
    const any_out<3>& z = p.final_normaliser;
    c.no_self_overlap(argument, z).no_overlap(argument, z, "q", p.q);
    c.no_overlap(argument, z, "k", p.k).no_overlap(argument, z, "v", p.v);
    if (p.final_state.given()) {
      c.no_overlap(argument, z, "options.final_state", p.final_state);
    }
    if (p.initial_state.given()) {
      c.no_overlap(argument, z, "options.initial_state", p.initial_state);
    }
    const any_view<3>& from = p.initial_normaliser;
    if (from.given() && (from.data != z.data || from.type != z.type || from.strides != z.strides)) {
      c.no_overlap(argument, z, "options.initial_normaliser", from);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
