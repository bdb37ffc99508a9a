// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <seqmix/common/carried_states.hpp>
#include <seqmix/ops/matrix_recurrence/check_features.hpp>
#include <string>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The largest key and value dimension that is supported and tested.
inline constexpr std::int64_t largest_state_dim = 512;

/// What an operator calls the tensors and axes of the descriptor.
struct recurrence_names {
  const char* q = "q";
  const char* k = "k";
  const char* v = "v";
  const char* gate = "the gate";
  const char* key_extent = "q.extent(K)";
  const char* value_extent = "v.extent(V)";
  const char* heads_extent = "v.extent(HV)";
  const char* key_heads = "H";
  const char* keys = "[B, T, H, K]";
  const char* values = "[B, T, HV, V]";
  const char* states = "[N, HV, K, V]";
  const char* pool = "[pool, HV, K, V]";
  const char* checkpoints = "[N, C, HV, K, V]";
  const char* rollback = "[N, R, HV, K, V]";
};

template <class Tag>
void check_recurrence_shapes(contract<Tag>& c, const matrix_recurrence_problem& p,
                             const recurrence_names& names) {
  const auto [B, T, H, K] = p.q.extents;
  const std::int64_t HV = p.v.extents[2];
  const std::int64_t V = p.v.extents[3];
  c.tensor(names.q, p.q).tensor(names.k, p.k).tensor(names.v, p.v).tensor("o", p.o);
  c.in_range(names.key_extent, K, 1, largest_state_dim);
  c.in_range(names.value_extent, V, 1, largest_state_dim);
  c.shape(names.k, p.k, p.q.extents, names.keys);
  c.shape(names.v, p.v, {B, T, HV, V}, names.values);
  c.shape("o", p.o, p.v.extents, names.values);
  if (H == 0 ? HV != 0 : HV % H != 0) {
    c.fail(names.heads_extent,
           std::string("a multiple of ") + names.key_heads + " = " + std::to_string(H),
           std::to_string(HV));
  }
}

/// A gate, a strength or a low-rank factor: [B, T, HV, last] with `last` one of two extents.
template <class Tag>
void check_token_input(contract<Tag>& c, const char* argument, const char* letters,
                       const any_view<4>& x, const matrix_recurrence_problem& p, std::int64_t last,
                       std::int64_t or_last, const char* q = "q") {
  std::array<std::int64_t, 4> expected = p.v.extents;
  expected[3] = x.extents[3] == or_last ? or_last : last;
  c.tensor(argument, x).shape(argument, x, expected, letters);
  c.real(argument, x.type);
  c.same_device(argument, x.memory, q, p.q.memory).no_overlap("o", p.o, argument, x);
}

/// A parameter of value heads, `each` numbers for one where it has more than one.
template <class Tag>
void check_head_parameter(contract<Tag>& c, const char* argument, const char* letters,
                          const head_parameter& x, const matrix_recurrence_problem& p,
                          std::int64_t each, const char* q = "q") {
  if (!x.given()) {
    return;
  }
  c.tensor(argument, x)
      .shape(argument, x, {p.value_heads(), x.extents[1] == 1 ? std::int64_t{1} : each}, letters);
  c.real(argument, x.type).same_device(argument, x.memory, q, p.q.memory);
  c.no_overlap("o", p.o, argument, x);
  c.no_overlap("options.final_state", p.final_state, argument, x);
  c.no_overlap("options.checkpoints", p.checkpoints, argument, x);
  c.no_overlap("options.rollback", p.rollback, argument, x);
}

/// A gate, `last` for each token and head, and what its encoding has beside it.
template <class Tag>
void check_gate(contract<Tag>& c, const char* letters, const matrix_recurrence_problem& p,
                std::int64_t last) {
  check_token_input(c, "g", letters, p.gate, p, last, last);
  constexpr const char* parameter = "[HV], or [HV, gates]";
  check_head_parameter(c, "g.a_log", parameter, p.gates.a_log, p, last);
  check_head_parameter(c, "g.bias", parameter, p.gates.bias, p, last);
  const double constant = p.gates.constant;
  c.require(p.gates.encoding != gate_encoding::bounded || (constant >= -5 && constant < 0),
            "g.lower_bound", "at least -5 and below 0", constant);
  c.require(
      p.gates.encoding != gate_encoding::logsigmoid || (std::isfinite(constant) && constant > 0),
      "g.tau", "a finite number above 0", constant);
}

template <class Tag>
void check_states(contract<Tag>& c, const matrix_recurrence_problem& p,
                  const recurrence_names& names) {
  const auto check = [&](const char* argument, const auto& x, bool pooled) {
    c.tensor(argument, x);
    const std::int64_t entries = pooled ? x.extents[0] : p.sequences;
    c.shape(argument, x, {entries, p.value_heads(), p.key_dim(), p.value_dim()},
            pooled ? names.pool : names.states);
    c.real(argument, x.type);
    c.same_device(argument, x.memory, names.q, p.q.memory).no_overlap("o", p.o, argument, x);
  };
  check_carried_states(
      c, p, "options.initial_state", "options.final_state", check, [&](const char* argument) {
        for (const auto& [other, x] :
             {std::pair{names.q, &p.q}, std::pair{names.k, &p.k}, std::pair{names.v, &p.v},
              std::pair{names.gate, &p.gate}, std::pair{"beta", &p.beta}, std::pair{"a", &p.a},
              std::pair{"b", &p.b}, std::pair{"options.z", &p.z}}) {
          if (x->given()) {
            c.no_overlap(argument, p.final_state, other, *x);
          }
        }
      });
}

/// States that are kept on the way.
template <class Tag>
void check_kept_states(contract<Tag>& c, const matrix_recurrence_problem& p,
                       const recurrence_names& names) {
  const auto check = [&](const char* argument, const any_out<5>& x, const char* letters) {
    c.tensor(argument, x);
    c.shape(argument, x, {p.sequences, x.extents[1], p.value_heads(), p.key_dim(), p.value_dim()},
            letters);
    c.real(argument, x.type);
    c.same_device(argument, x.memory, names.q, p.q.memory).no_overlap("o", p.o, argument, x);
    c.no_self_overlap(argument, x);
    for (const auto& [other, y] :
         {std::pair{names.q, &p.q}, std::pair{names.k, &p.k}, std::pair{names.v, &p.v},
          std::pair{names.gate, &p.gate}, std::pair{"beta", &p.beta}, std::pair{"a", &p.a},
          std::pair{"b", &p.b}, std::pair{"options.z", &p.z},
          std::pair{"options.initial_state", &p.initial_state}}) {
      if (y->given()) {
        c.no_overlap(argument, x, other, *y);
      }
    }
    if (p.final_state.given()) {
      c.no_overlap(argument, x, "options.final_state", p.final_state);
    }
  };
  if (p.checkpoints.given()) {
    check("options.checkpoints", p.checkpoints, names.checkpoints);
    c.require(p.checkpoint_every > 0, "options.checkpoint_every", "at least 1, with checkpoints",
              p.checkpoint_every);
    const bool known = !p.packed || p.offsets.memory.on_host();
    for (std::int64_t n = 0; known && c.holds() && n < p.sequences; ++n) {
      const std::int64_t needed = recurrence_sequence_at(p, n).tokens / p.checkpoint_every;
      if (p.checkpoints.extents[1] < needed) {
        c.fail("options.checkpoints", "room for " + std::to_string(needed) + " states",
               std::to_string(p.checkpoints.extents[1]));
      }
    }
  } else {
    c.absent("options.checkpoint_every", p.checkpoint_every != 0, "there are no checkpoints");
  }
  if (p.rollback.given()) {
    check("options.rollback", p.rollback, names.rollback);
    if (p.checkpoints.given()) {
      c.no_overlap("options.rollback", p.rollback, "options.checkpoints", p.checkpoints);
    }
  }
}

/// Completes a descriptor whose tensors, `packed`, decay and update are set, and checks all but
/// what is the operator's own.
template <class Tag>
void check_recurrence(contract<Tag>& c, matrix_recurrence_problem& p,
                      const recurrence_options& options, const recurrence_names& names = {}) {
  p.scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(p.q.extents[3])));
  p.initial_state = options.initial_state;
  p.final_state = options.final_state;
  p.initial_slots = options.initial_slots;
  p.final_slots = options.final_slots;
  p.heads = options.heads;
  p.direction = options.direction;
  p.l2norm = options.l2norm;
  p.l2norm_eps = options.l2norm_eps;
  p.checkpoints = options.checkpoints;
  p.checkpoint_every = options.checkpoint_every;
  p.rollback = options.rollback;
  p.accumulate = options.accumulate;
  p.shift_outputs = options.shift_outputs;
  p.normalise = options.normalise;
  p.normalise_eps = options.normalise_eps;
  p.initial_normaliser = options.initial_normaliser;
  p.final_normaliser = options.final_normaliser;
  p.sequences = p.q.extents[0];
  if (p.packed) {
    p.offsets = options.varlen.offsets;
    p.max_t = options.varlen.max_t;
    p.sequences = p.offsets.extents[0] - 1;
  }
  check_recurrence_shapes(c, p, names);
  c.require(std::isfinite(p.scale), "options.scale", "a finite number", p.scale);
  c.require(std::isfinite(p.l2norm_eps) && p.l2norm_eps >= 0, "options.l2norm_eps",
            "a finite number of at least 0", p.l2norm_eps);
  if (p.packed) {
    c.offsets("options.varlen.offsets", p.offsets, p.q.extents[1], p.max_t, p.q.memory.on_host());
  } else {
    c.absent("options.varlen", options.varlen.offsets.given(), "only with packed tensors");
  }
  c.same_device(names.k, p.k.memory, names.q, p.q.memory);
  c.same_device(names.v, p.v.memory, names.q, p.q.memory);
  c.same_device("o", p.o.memory, names.q, p.q.memory);
  c.no_overlap("o", p.o, names.q, p.q).no_overlap("o", p.o, names.k, p.k);
  c.no_overlap("o", p.o, names.v, p.v);
  c.no_self_overlap("o", p.o);
  if (c.holds()) {
    check_features(c, p, options);
    check_states(c, p, names);
    check_kept_states(c, p, names);
    check_normaliser(c, p);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
