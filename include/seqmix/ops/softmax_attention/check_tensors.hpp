// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/checks.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>
#include <string>
#include <utility>

// The part of the contract that is about tensors among the options: what changes the scores, and
// side outputs.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// An input beside the call's own tensors.
template <class Tag, std::size_t Rank>
void check_beside(contract<Tag>& c, const char* argument, const any_view<Rank>& v,
                  const softmax_attention_problem& p) {
  c.tensor(argument, v);
  c.same_device(argument, v.memory, "q", p.q.memory);
  c.no_overlap("o", p.o, argument, v);
  for (const auto& [name, out] : {std::pair{"options.lse", &p.lse},
                                  std::pair{"options.key_outputs.scores", &p.key_outputs.scores},
                                  std::pair{"options.key_outputs.top", &p.key_outputs.top}}) {
    if (out->given()) {
      c.no_overlap(name, *out, argument, v);
    }
  }
}

/// The same, of real numbers.
template <class Tag, std::size_t Rank>
void check_addend(contract<Tag>& c, const char* argument, const any_view<Rank>& v,
                  const softmax_attention_problem& p) {
  c.real(argument, v.type);
  check_beside(c, argument, v, p);
}

/// The extents of a bias, where each may also be 1: those of the sequences that are longest. What a
/// bias of packed sequences or of a paged cache has beyond them is not read.
template <class Tag>
std::array<std::int64_t, 4> longest_extents(const contract<Tag>& c,
                                            const softmax_attention_problem& p) {
  std::array<std::int64_t, 4> least{p.sequences, p.heads(), p.q.extents[1], p.key_capacity()};
  if (p.paged() && p.k_lengths.memory.on_host()) {
    least[3] = 0;
    for (std::int64_t b = 0; c.holds() && b < p.sequences; ++b) {
      const std::int64_t keys = index_at(p.k_lengths, b);
      least[3] = least[3] < keys ? keys : least[3];
    }
  }
  if (p.packed) {
    least[2] = p.max_q;
    least[3] = p.max_k;
    for (std::int64_t b = 0; c.holds() && p.q_offsets.memory.on_host() && b < p.sequences; ++b) {
      const visibility mask = sequence_at(p, b).mask;
      least[2] = least[2] < mask.queries ? mask.queries : least[2];
      least[3] = least[3] < mask.keys ? mask.keys : least[3];
    }
  }
  return least;
}

/// A bias, of `letters`, against its `least` extents. It repeats along axes of extent 1.
template <class Tag>
void check_bias(contract<Tag>& c, const char* argument, const any_view<4>& bias,
                const softmax_attention_problem& p, const std::array<std::int64_t, 4>& least,
                const char* letters) {
  check_addend(c, argument, bias, p);
  for (std::size_t axis = 0; axis < 4; ++axis) {
    const std::int64_t e = bias.extents[axis];
    const bool longer = (p.packed ? axis >= 2 : p.paged() && axis == 3) && e > least[axis];
    if (e != 1 && e != least[axis] && !longer) {
      c.fail(argument, letters + (" = " + shape_text(least)) + ", or 1 on any axis",
             shape_text(bias.extents));
    }
  }
}

/// Indexes of ALiBi: addressed as the rows of q and k are, those of a paged cache by key.
template <class Tag>
void check_alibi_index(contract<Tag>& c, const softmax_attention_problem& p) {
  const std::int64_t keys = p.paged() ? longest_extents(c, p)[3] : p.k.extents[1];
  c.require(p.alibi_slopes.type != scalar_type::none, "options.alibi_slopes",
            "slopes, beside options.alibi", "none");
  const auto check = [&](const char* argument, const char* letters, const any_view<2>& v,
                         std::int64_t least, bool longer) {
    c.require(v.type != scalar_type::none, argument, "indexes on both sides", "none");
    check_beside(c, argument, v, p);
    const std::int64_t batch = p.q.extents[0];
    const auto [b, n] = v.extents;
    if ((b != 1 && b != batch) || (n != least && !(longer && n > least))) {
      c.fail(argument, letters + (" = " + shape_text(std::array{batch, least})) + ", or B = 1",
             shape_text(v.extents));
    }
  };
  check("options.alibi.query", p.packed ? "[1, total]" : "[B, T]", p.alibi.query, p.q.extents[1],
        false);
  check("options.alibi.key",
        p.packed    ? "[1, total]"
        : p.paged() ? "[B, longest length]"
                    : "[B, S]",
        p.alibi.key, keys, p.paged());
}

/// The scales of int8 keys and values: beside these, and only there.
template <class Tag>
void check_scales(contract<Tag>& c, const softmax_attention_problem& p) {
  const auto check = [&](const char* argument, const any_view<3>& scale, const any_view<4>& of) {
    if (of.type != scalar_type::i8) {
      c.absent(argument, scale.type != scalar_type::none, "only beside int8");
      return;
    }
    c.require(scale.type == scalar_type::f32, argument, "element type f32, beside int8",
              name(scale.type));
    check_beside(c, argument, scale, p);
    c.shape(argument, scale, {of.extents[0], of.extents[1], of.extents[2]},
            p.paged() ? "[pages, page, HK]" : "[B, S, HK]");
  };
  check("kv.layout.k_scale", p.k_scale, p.k);
  check("kv.layout.v_scale", p.v_scale, p.v);
}

/// What changes the scores.
template <class Tag>
void check_score_terms(contract<Tag>& c, const softmax_attention_problem& p) {
  for (const auto& [argument, v] : {std::pair{"options.sink_logits", &p.sink_logits},
                                    std::pair{"options.alibi_slopes", &p.alibi_slopes}}) {
    if (v->given()) {
      check_addend(c, argument, *v, p);
      c.shape(argument, *v, {p.heads()}, "[H]");
    }
  }
  if (p.alibi.given()) {
    check_alibi_index(c, p);
  }
  if (p.bias.given()) {
    check_bias(c, "options.bias", p.bias, p, longest_extents(c, p),
               p.packed    ? "[sequences, H, longest q, longest k]"
               : p.paged() ? "[B, H, T, longest length]"
                           : "[B, H, T, S]");
  }
  c.require(p.relative_bias.given() || p.relative_bias.origin == 0, "options.relative_bias.values",
            "a table, beside an origin", "none");
  if (p.relative_bias.given()) {
    const std::int64_t entries = p.relative_bias.values.extents[3];
    std::array<std::int64_t, 4> least = longest_extents(c, p);
    least[3] = entries;
    check_bias(c, "options.relative_bias.values", p.relative_bias.values, p, least,
               p.packed ? "[sequences, H, longest q, R]" : "[B, H, T, R]");
    c.require(entries > 0, "options.relative_bias.values", "R of at least 1", entries);
    c.in_range("options.relative_bias.origin", p.relative_bias.origin, 0, entries - 1);
  }
}

/// Side outputs about the keys. Those of a paged cache have the keys of the longest sequence, or
/// more.
template <class Tag>
void check_key_outputs(contract<Tag>& c, const softmax_attention_problem& p) {
  if (!p.wants_keys()) {
    return;
  }
  const any_out<3>& scores = p.key_outputs.scores;
  const any_out<3>& top = p.key_outputs.top;
  c.absent("options.key_outputs", p.normaliser.weights != attention_weights::softmax,
           "only with softmax weights");
  const auto output = [&](const char* argument, const any_out<3>& out, std::int64_t outer) {
    if (!out.given()) {
      return;
    }
    c.tensor(argument, out).same_device(argument, out.memory, "q", p.q.memory);
    const std::int64_t heads = out.extents[1];
    if (out.extents[0] != outer || (heads != p.heads() && heads != p.kv_heads())) {
      c.fail(argument,
             "[" + std::to_string(outer) + ", " + std::to_string(p.heads()) + " or " +
                 std::to_string(p.kv_heads()) + ", ...]",
             shape_text(out.extents));
    }
    c.no_overlap(argument, out, "q", p.q).no_overlap(argument, out, "k", p.k);
    c.no_overlap(argument, out, "v", p.v).no_overlap(argument, out, "o", p.o);
    if (p.lse.given()) {
      c.no_overlap(argument, out, "options.lse", p.lse);
    }
    c.no_self_overlap(argument, out);
  };
  constexpr const char* scores_argument = "options.key_outputs.scores";
  constexpr const char* top_argument = "options.key_outputs.top";
  output(scores_argument, scores, p.packed ? 1 : p.sequences);
  output(top_argument, top, p.sequences);
  if (scores.given()) {
    c.require(scores.type == scalar_type::f32 || scores.type == scalar_type::f64, scores_argument,
              "element type f32 or f64", name(scores.type));
    const std::int64_t keys = p.paged() ? longest_extents(c, p)[3] : p.k.extents[1];
    if (p.paged() ? scores.extents[2] < keys : scores.extents[2] != keys) {
      c.fail(scores_argument, std::to_string(keys) + (p.paged() ? " keys or more" : " keys"),
             std::to_string(scores.extents[2]));
    }
  }
  if (top.given()) {
    c.require(top.type == scalar_type::i32 || top.type == scalar_type::i64, top_argument,
              "element type i32 or i64", name(top.type));
  }
  if (scores.given() && top.given()) {
    c.equal(top_argument, " heads, as options.key_outputs.scores has", scores.extents[1],
            top.extents[1]);
    c.no_overlap(top_argument, top, scores_argument, scores);
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
