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

/// Softmax of a row's scores in place, -inf where a key is hidden, with a sink logit b, -inf for
/// none; returns the log-sum-exp.
///
///     m = max(b, max_j s_j),   l = e^(b - m) + sum_j e^(s_j - m),   p_j = e^(s_j - m) / l
template <class Tag>
double naive_softmax(std::vector<double>& row, double b) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double m = b;
  for (const double s : row) {
    m = std::fmax(m, s);
  }
  const double reference = m == -infinity ? 0 : m;
  double l = std::exp(b - reference);
  for (double& s : row) {
    s = std::exp(s - reference);
    l += s;
  }
  for (double& s : row) {
    s = l == 0 ? 0 : s / l;
  }
  return l == 0 ? -infinity : m + std::log(l);
}

/// The other rules, for the row at `place` that sees the keys marked in `seen`; returns the
/// logarithm of softplus's sum.
template <class Tag>
double naive_weights(const attention_normaliser& how, std::vector<double>& row,
                     const std::vector<char>& seen, std::int64_t place) {
  double n = 0;
  double sum = 0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    double& s = row[j];
    if (how.weights == attention_weights::sigmoid) {
      s = 1 / (1 + std::exp(-(s + how.shift)));
    } else if (how.weights == attention_weights::softplus) {
      s = s > 0 ? s + std::log1p(std::exp(-s)) : std::log1p(std::exp(s));
    } else if (how.weights == attention_weights::relu) {
      s = s < 0 ? 0 : s;
    }
    s = seen[j] ? s : 0;
    n += seen[j];
    sum += s;
  }
  if (how.weights == attention_weights::softplus) {
    double most = 0;
    for (double& a : row) {
      a = sum == 0 ? 0 : a / sum;
      most = a > most ? a : most;
    }
    const double offset = place < 3 ? 0 : 1;
    if (how.sharpen > 0 && (place < 3 || n * most > 1 + 0x1p-10)) {
      double total = 0;
      for (double& a : row) {
        // Over the largest one, which cancels: no power leaves the range of double.
        const double r = (n * a - offset) / (n * most - offset);
        a = r < 0 ? 0 : std::pow(r, how.sharpen);
        total += a;
      }
      for (double& a : row) {
        a = total == 0 ? 0 : a / total;
      }
    }
  } else if (how.mean) {
    for (double& p : row) {
      p = n == 0 ? 0 : p / n;
    }
  }
  return std::log(sum);
}

/// The side outputs of one sequence from the weights that its keys got, [H][keys].
template <class Tag>
void naive_key_outputs(const softmax_attention_problem& p, std::int64_t b,
                       const std::vector<double>& weights) {
  const attention_sequence s = sequence_at(p, b);
  const any_out<3>& scores = p.key_outputs.scores;
  const any_out<3>& top = p.key_outputs.top;
  const std::int64_t heads = scores.given() ? scores.extents[1] : top.extents[1];
  const std::int64_t shared = p.heads() / heads;  // query heads of one row of scores
  for (std::int64_t h = 0; h < heads; ++h) {
    std::vector<double> row(static_cast<std::size_t>(s.mask.keys));
    for (std::int64_t j = 0; j < s.mask.keys; ++j) {
      double all = 0;
      for (std::int64_t g = 0; g < shared; ++g) {
        const double x = weights[static_cast<std::size_t>((h * shared + g) * s.mask.keys + j)];
        const bool mean = p.key_outputs.across_group == group_reduction::mean;
        all = mean ? all + x / static_cast<double>(shared) : x > all || x != x ? x : all;
      }
      row[static_cast<std::size_t>(j)] = all;
    }
    if (scores.given()) {
      const std::int64_t room =
          p.packed ? index_at(p.k_offsets, b + 1) - s.k_begin : scores.extents[2];
      for (std::int64_t j = 0; j < room; ++j) {
        write_lse(scores, s.batch, h, s.k_begin + j,
                  j < s.mask.keys ? row[static_cast<std::size_t>(j)] : 0);
      }
    }
    for (std::int64_t n = 0; top.given() && n < top.extents[2]; ++n) {
      std::int64_t best = -1;
      for (std::int64_t j = 0; j < s.mask.keys; ++j) {
        const double most = best < 0 ? 0 : row[static_cast<std::size_t>(best)];
        best = row[static_cast<std::size_t>(j)] > most ? j : best;
      }
      write_index(top, b, h, n, best);
      if (best >= 0) {
        row[static_cast<std::size_t>(best)] = 0;
      }
    }
  }
}

/// Element d of a key, or of a value, as a number.
template <class Tag, class T>
double cached_number(const tensor_view<const T, 4>& x, const tensor_view<const float, 3>& scale,
                     key_place at, std::int64_t kv_head, std::int64_t d) {
  const double number = widen<double>(x(at.outer, at.row, kv_head, d));
  if constexpr (is_quantised<T>) {
    return number * static_cast<double>(scale(at.outer, at.row, kv_head));
  }
  return number;
}

/// The equation, row by row and pair by pair, in double:
///
///     s_ij = biased_score(scale q_i.k_j), changed by the score functor if there is one,
///            for the keys j that row i sees; scale also times log n_i, if so asked
///     p_ij = softmax over j, or what the normaliser says
///     o_i  = sum_j p_ij v_j
template <class TQ, class TK, class TV, class TO, class Tag, class Score = void, class Mask = void>
void naive_softmax_attention(const softmax_attention_problem& p) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const typed_attention<TQ, TK, TV, TO> t(p);
  for (std::int64_t b = 0; b < p.sequences; ++b) {
    const attention_sequence s = sequence_at(p, b);
    std::vector<double> row(static_cast<std::size_t>(s.mask.keys));
    double* const score = row.data();
    std::vector<char> seen_by_row(row.size());
    std::vector<double> of_keys(p.wants_keys() ? row.size() * static_cast<std::size_t>(p.heads())
                                               : 0);
    for (std::int64_t h = 0; h < p.heads(); ++h) {
      const std::int64_t kv_head = h / p.group();
      for (std::int64_t i = 0; i < s.mask.queries; ++i) {
        const key_ranges visible = s.mask.row(i);
        double n = 0;
        for (std::int64_t j = 0; j < s.mask.keys; ++j) {
          bool seen = visible.contains(j);
          if constexpr (!std::is_void_v<Mask>) {
            const score_context pair{b, h, i, j, s.mask.queries, s.mask.keys};
            seen = seen && (*static_cast<const Mask*>(p.mask))(pair);
          }
          seen_by_row[static_cast<std::size_t>(j)] = seen;
          n += seen;
        }
        const double scale = p.log_length && n > 0 ? p.scale * std::log(n) : p.scale;
        for (std::int64_t j = 0; j < s.mask.keys; ++j) {
          score[j] = -infinity;
          if (seen_by_row[static_cast<std::size_t>(j)]) {
            const key_place at = place_of(p, s, j);
            double dot = 0;
            for (std::int64_t d = 0; d < p.key_dim(); ++d) {
              dot += widen<double>(t.q(s.batch, s.q_begin + i, h, d)) *
                     cached_number<Tag>(t.k, t.k_scale, at, kv_head, d);
            }
            score[j] = biased_score<Tag>(p, b, h, i, j, s, scale * dot);
            if constexpr (!std::is_void_v<Score>) {
              const score_context pair{b, h, i, j, s.mask.queries, s.mask.keys};
              score[j] = (*static_cast<const Score*>(p.score))(static_cast<float>(score[j]), pair);
            }
          }
        }
        const double sink = p.sink_logits.given() ? real_at<double>(p.sink_logits, h) : -infinity;
        const double lse = p.normaliser.weights == attention_weights::softmax
                               ? naive_softmax<Tag>(row, sink)
                               : naive_weights<Tag>(p.normaliser, row, seen_by_row,
                                                    i + s.mask.keys - s.mask.queries);
        for (std::size_t j = 0; p.wants_keys() && j < row.size(); ++j) {
          of_keys[static_cast<std::size_t>(h) * row.size() + j] += seen_by_row[j] ? row[j] : 0;
        }
        for (std::int64_t c = 0; c < p.value_dim(); ++c) {
          double sum = 0;
          for (std::int64_t j = 0; j < s.mask.keys; ++j) {
            if (seen_by_row[static_cast<std::size_t>(j)]) {
              const key_place at = place_of(p, s, j);
              sum += row[static_cast<std::size_t>(j)] *
                     cached_number<Tag>(t.v, t.v_scale, at, kv_head, c);
            }
          }
          t.o(s.batch, s.q_begin + i, h, c) = narrow<TO>(sum);
        }
        write_lse(p.lse, s.batch, h, s.q_begin + i, lse);
      }
    }
    if (p.wants_keys() && p.heads() > 0) {
      naive_key_outputs<Tag>(p, b, of_keys);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
