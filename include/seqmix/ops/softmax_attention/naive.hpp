// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <seqmix/ops/softmax_attention/problem.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>
#include <seqmix/ops/softmax_attention/typed.hpp>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// |f_i - g_j| of row i and key row j of batch entry b.
template <class Tag>
double alibi_distance(const softmax_attention_problem& p, std::int64_t b, std::int64_t i,
                      std::int64_t j) {
  const any_view<2>& f = p.alibi.query;
  const any_view<2>& g = p.alibi.key;
  const std::int64_t b_of_f = f.extents[0] == 1 ? 0 : b;
  const std::int64_t b_of_g = g.extents[0] == 1 ? 0 : b;
  const auto whole = [](const any_view<2>& v) {
    return v.type == scalar_type::i32 || v.type == scalar_type::i64;
  };
  const auto real = [&](const any_view<2>& v, std::int64_t row, std::int64_t column) {
    double x = 0;
    with_number_elements(v.data, v.type, [&](const auto* data) {
      x = widen<double>(data[row * v.strides[0] + column * v.strides[1]]);
    });
    return x;
  };
  if (whole(f) && whole(g)) {
    const std::int64_t from = index_at(f, b_of_f, i);
    const std::int64_t to = index_at(g, b_of_g, j);
    const auto difference = static_cast<std::uint64_t>(from > to ? from : to) -
                            static_cast<std::uint64_t>(from > to ? to : from);
    return static_cast<double>(difference);
  }
  return std::fabs(real(f, b_of_f, i) - real(g, b_of_g, j));
}

/// A scaled score after softcap c, ALiBi slope a, and the biases:
///
///     c tanh(s / c) - a |i + off - j| + bias_ij + relative_bias_i[clamp(i + off - j + origin)]
template <class Tag>
double biased_score(const softmax_attention_problem& p, std::int64_t sequence, std::int64_t head,
                    std::int64_t i, std::int64_t j, const attention_sequence& at, double s) {
  if (p.softcap > 0) {
    s = p.softcap * std::tanh(s / p.softcap);
  }
  const std::int64_t difference = i + at.mask.keys - at.mask.queries - j;
  if (p.alibi_slopes.given()) {
    const double distance = p.alibi.given()
                                ? alibi_distance<Tag>(p, at.batch, at.q_begin + i, at.k_begin + j)
                                : std::fabs(static_cast<double>(difference));
    s -= real_at<double>(p.alibi_slopes, head) * distance;
  }
  const auto add = [&](const any_view<4>& bias, std::int64_t entry) {
    const std::int64_t index[] = {sequence, head, i, entry};
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < 4; ++axis) {
      offset += (bias.extents[axis] == 1 ? 0 : index[axis]) * bias.strides[axis];
    }
    with_real_elements(bias.data, bias.type,
                       [&](const auto* data) { s += widen<double>(data[offset]); });
  };
  if (p.bias.given()) {
    add(p.bias, j);
  }
  if (p.relative_bias.given()) {
    const std::int64_t last = p.relative_bias.values.extents[3] - 1;
    const std::int64_t entry = difference + p.relative_bias.origin;
    add(p.relative_bias.values, entry < 0 ? 0 : entry > last ? last : entry);
  }
  return s;
}

/// The equation, row by row and pair by pair, in double:
///
///     s_ij = biased_score(scale q_i.k_j), changed by the score functor if there is one,
///            for the keys j that row i sees; b_h a sink logit, -inf without one
///     m_i = max(b_h, max_j s_ij),   l_i = e^(b_h - m_i) + sum_j e^(s_ij - m_i)
///     o_i = sum_j e^(s_ij - m_i) v_j / l_i,   LSE_i = m_i + log l_i
template <class TQ, class TK, class TV, class TO, class Tag, class Score = void, class Mask = void>
void naive_softmax_attention(const softmax_attention_problem& p) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const typed_attention<TQ, TK, TV, TO> t(p);
  for (std::int64_t b = 0; b < p.sequences; ++b) {
    const attention_sequence s = sequence_at(p, b);
    std::vector<double> row(static_cast<std::size_t>(s.mask.keys));
    double* const score = row.data();
    std::vector<char> seen_by_row(row.size());
    for (std::int64_t h = 0; h < p.heads(); ++h) {
      const std::int64_t kv_head = h / p.group();
      for (std::int64_t i = 0; i < s.mask.queries; ++i) {
        const key_ranges visible = s.mask.row(i);
        double m = -infinity;
        for (std::int64_t j = 0; j < s.mask.keys; ++j) {
          const key_place at = place_of(p, s, j);
          double dot = 0;
          for (std::int64_t d = 0; visible.contains(j) && d < p.key_dim(); ++d) {
            dot += widen<double>(t.q(s.batch, s.q_begin + i, h, d)) *
                   widen<double>(t.k(at.outer, at.row, kv_head, d));
          }
          score[j] = -infinity;
          bool seen = visible.contains(j);
          if constexpr (!std::is_void_v<Mask>) {
            const score_context pair{b, h, i, j, s.mask.queries, s.mask.keys};
            seen = seen && (*static_cast<const Mask*>(p.mask))(pair);
          }
          seen_by_row[static_cast<std::size_t>(j)] = seen;
          if (seen) {
            score[j] = biased_score<Tag>(p, b, h, i, j, s, p.scale * dot);
            if constexpr (!std::is_void_v<Score>) {
              const score_context pair{b, h, i, j, s.mask.queries, s.mask.keys};
              score[j] = (*static_cast<const Score*>(p.score))(static_cast<float>(score[j]), pair);
            }
          }
          m = std::fmax(m, score[j]);
        }
        const bool sink = p.sink_logits.given();
        m = sink ? std::fmax(m, real_at<double>(p.sink_logits, h)) : m;
        const double reference = m == -infinity ? 0 : m;
        double l = sink ? std::exp(real_at<double>(p.sink_logits, h) - reference) : 0;
        for (std::int64_t j = 0; j < s.mask.keys; ++j) {
          l += std::exp(score[j] - reference);
        }
        for (std::int64_t c = 0; c < p.value_dim(); ++c) {
          double sum = 0;
          for (std::int64_t j = 0; j < s.mask.keys; ++j) {
            if (seen_by_row[static_cast<std::size_t>(j)]) {
              const key_place at = place_of(p, s, j);
              sum +=
                  std::exp(score[j] - reference) * widen<double>(t.v(at.outer, at.row, kv_head, c));
            }
          }
          t.o(s.batch, s.q_begin + i, h, c) = narrow<TO>(l == 0 ? 0 : sum / l);
        }
        write_lse(p.lse, s.batch, h, s.q_begin + i, l == 0 ? -infinity : m + std::log(l));
      }
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
