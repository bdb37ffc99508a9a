// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/common/naive_features.hpp>
#include <seqmix/ops/matrix_recurrence/problem.hpp>
#include <vector>

// What the oracles share: element access and the loops around a sequence's tokens. Each operator's
// naive.hpp writes its own recurrence, in double.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class Tag, class Pointer>
double naive_at(const erased_view<Pointer, 4>& x, std::int64_t i, std::int64_t j, std::int64_t h,
                std::int64_t d) {
  double value = 0;
  const std::int64_t at = i * x.strides[0] + j * x.strides[1] + h * x.strides[2] + d * x.strides[3];
  with_real_elements(x.data, x.type, [&](const auto* data) { value = widen<double>(data[at]); });
  return value;
}

template <class Tag>
void naive_set(const any_out<4>& x, std::int64_t i, std::int64_t j, std::int64_t h, std::int64_t d,
               double value) {
  const std::int64_t at = i * x.strides[0] + j * x.strides[1] + h * x.strides[2] + d * x.strides[3];
  with_real_elements(x.data, x.type, [&]<class T>(T* data) { data[at] = narrow<T>(value); });
}

/// One token of one value head, in double.
struct naive_token {
  std::vector<double> q, k, v, gate, beta, a, b;
  std::vector<double> decay;  ///< what the gates stand for; `gate` is as it was given
};

/// The factor that a gate x stands for, from the definition of its encoding.
template <class Tag>
double naive_decay(const gate_form& form, std::int64_t hv, std::size_t d, double x) {
  const auto parameter = [&](const head_parameter& of) {
    return of.given() ? real_at<double>(of, hv, of.extents[1] == 1 ? 0 : std::int64_t(d)) : 0.0;
  };
  const auto softplus = [](double y) { return y > 40 ? y : std::log1p(std::exp(y)); };
  const double rate = std::exp(parameter(form.a_log));
  const double y = x + parameter(form.bias);
  switch (form.encoding) {
    case gate_encoding::log2:
      return std::pow(2, x);
    case gate_encoding::linear:
      return x;
    case gate_encoding::softplus:
      return std::exp(-rate * softplus(y));
    case gate_encoding::bounded:
      return std::exp(form.constant / (1 + std::exp(-rate * y)));
    case gate_encoding::exponential:
      return std::exp(-std::exp(x));
    case gate_encoding::logsigmoid:
      return std::exp(-softplus(-x) / form.constant);
    default:
      return std::exp(x);
  }
}

/// Likewise the strength.
template <class Tag>
double naive_beta(beta_encoding encoding, double x) {
  return encoding == beta_encoding::plain
             ? x
             : (encoding == beta_encoding::sigmoid ? 1 : 2) / (1 + std::exp(-x));
}

/// The decayed state: what a factor of zero multiplies is over, whatever it is.
template <class Tag>
double naive_kept(double decay, double s) {
  return decay == 0 ? 0 : decay * s;
}

/// The states of one sequence among those that are kept on the way.
template <class Tag>
void naive_keep(const any_out<5>& x, std::int64_t sequence, std::int64_t entry, std::int64_t hv,
                std::int64_t V, const std::vector<double>& S) {
  for (std::size_t i = 0; i < S.size(); ++i) {
    const auto d = static_cast<std::int64_t>(i) / V;
    const auto c = static_cast<std::int64_t>(i) % V;
    const std::int64_t at = sequence * x.strides[0] + entry * x.strides[1] + hv * x.strides[2] +
                            d * x.strides[3] + c * x.strides[4];
    with_real_elements(x.data, x.type, [&]<class T>(T* data) { data[at] = narrow<T>(S[i]); });
  }
}

/// Writes the output of token t, with what it meets on its way out.
template <class Tag>
void naive_output(const matrix_recurrence_problem& p, const recurrence_sequence& s, std::int64_t hv,
                  std::int64_t t, const std::vector<double>& o) {
  const std::int64_t place = s.place(t);
  for (std::int64_t c = 0; c < p.value_dim(); ++c) {
    double y = o[static_cast<std::size_t>(c)];
    if (p.accumulate) {
      y += naive_at<Tag>(p.o, s.batch, place, hv, c);
    }
    const double x = naive_at<Tag>(p.v, s.batch, place, hv, c);
    if (p.skip.given()) {
      y += x * naive_at<Tag>(p.skip, s.batch, place, hv, p.skip.extents[3] > 1 ? c : 0);
    }
    if (p.token_skip.given()) {
      y += x * naive_at<Tag>(p.token_skip, s.batch, place, hv, 0);
    }
    if (p.z.given()) {
      const double z = naive_at<Tag>(p.z, s.batch, place, hv, c);
      y *= z / (1 + std::exp(-z));
    }
    naive_set<Tag>(p.o, s.batch, place, hv, c, y);
  }
}

/// Calls `step(S, token)` for every token of every sequence and value head in order, S [K][V] row
/// by row, and writes `o = S^T q`, with q scaled.
template <class Tag, class Step>
void naive_recurrence(const matrix_recurrence_problem& p, Step&& step) {
  const std::int64_t K = p.key_dim();
  const std::int64_t V = p.value_dim();
  std::vector<double> S(static_cast<std::size_t>(K * V));
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const recurrence_sequence s = recurrence_sequence_at(p, n);
    for (std::int64_t hv = 0; !s.skipped() && hv < p.value_heads(); ++hv) {
      for (std::int64_t i = 0; i < K * V; ++i) {
        S[static_cast<std::size_t>(i)] =
            p.initial_state.given() ? naive_at<Tag>(p.initial_state, s.initial, hv, i / V, i % V)
                                    : 0;
      }
      std::vector<double> z(static_cast<std::size_t>(K), 0.0);
      for (std::int64_t d = 0; p.initial_normaliser.given() && d < K; ++d) {
        const any_view<3>& x = p.initial_normaliser;
        with_real_elements(x.data, x.type, [&](const auto* data) {
          z[static_cast<std::size_t>(d)] =
              widen<double>(data[n * x.strides[0] + hv * x.strides[1] + d * x.strides[2]]);
        });
      }
      const auto keep = [&](std::int64_t done) {
        if (p.checkpoints.given() && done > 0 && done % p.checkpoint_every == 0) {
          naive_keep<Tag>(p.checkpoints, n, done / p.checkpoint_every - 1, hv, V, S);
        }
        if (p.rollback.given() && s.tokens - done < p.rollback.extents[1]) {
          naive_keep<Tag>(p.rollback, n, s.tokens - done, hv, V, S);
        }
      };
      keep(0);
      std::vector<double> read(static_cast<std::size_t>(V), 0.0);
      if (p.shift_outputs && s.tokens > 0) {
        naive_output<Tag>(p, s, hv, 0, read);
      }
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::int64_t place = s.place(t);
        const auto row = [&](const any_view<4>& x, std::int64_t h) {
          std::vector<double> values;
          for (std::int64_t d = 0; x.given() && d < x.extents[3]; ++d) {
            values.push_back(naive_at<Tag>(x, s.batch, place, h, d));
          }
          return values;
        };
        const std::int64_t h = p.key_head(hv);
        naive_token token{row(p.q, h),     row(p.k, h),  row(p.v, hv), row(p.gate, hv),
                          row(p.beta, hv), row(p.a, hv), row(p.b, hv), {}};
        for (std::size_t d = 0; d < token.gate.size(); ++d) {
          token.decay.push_back(naive_decay<Tag>(p.gates, hv, d, token.gate[d]));
        }
        for (double& beta : token.beta) {
          beta = naive_beta<Tag>(p.betas, beta);
        }
        if (p.has_features()) {
          token.q = naive_feature_row<Tag>(p.features, feature_role::query, h, t, token.q);
          token.k = naive_feature_row<Tag>(p.key_features, feature_role::key, h, t, token.k);
        }
        if (p.l2norm) {
          for (std::vector<double>* x : {&token.q, &token.k}) {
            double squares = 0;
            for (const double e : *x) {
              squares += e * e;
            }
            for (double& e : *x) {
              e = squares + p.l2norm_eps == 0 ? 0 : e / std::sqrt(squares + p.l2norm_eps);
            }
          }
        }
        step(S, token, hv);
        double denominator = p.normalise_eps;
        for (std::size_t d = 0; d < z.size(); ++d) {
          z[d] += token.k[d];
          denominator += p.scale * token.q[d] * z[d];
        }
        for (std::int64_t c = 0; c < V; ++c) {
          double o = 0;
          for (std::int64_t d = 0; d < K; ++d) {
            o += p.scale * token.q[static_cast<std::size_t>(d)] *
                 S[static_cast<std::size_t>(d * V + c)];
          }
          read[static_cast<std::size_t>(c)] = p.normalise ? o / denominator : o;
        }
        if (!p.shift_outputs || t + 1 < s.tokens) {
          naive_output<Tag>(p, s, hv, p.shift_outputs ? t + 1 : t, read);
        }
        keep(t + 1);
      }
      for (std::int64_t d = 0; p.final_normaliser.given() && d < K; ++d) {
        const any_out<3>& x = p.final_normaliser;
        with_real_elements(x.data, x.type, [&]<class T>(T* data) {
          data[n * x.strides[0] + hv * x.strides[1] + d * x.strides[2]] =
              narrow<T>(z[static_cast<std::size_t>(d)]);
        });
      }
      for (std::int64_t i = 0; p.final_state.given() && i < K * V; ++i) {
        naive_set<Tag>(p.final_state, s.final, hv, i / V, i % V, S[static_cast<std::size_t>(i)]);
      }
    }
  }
}

/// The delta rule's write, in every oracle that has it: S = S + k (beta (v - S^T k))^T.
template <class Tag>
void naive_delta_write(std::vector<double>& S, const naive_token& x) {
  const std::size_t K = x.k.size();
  const std::size_t V = x.v.size();
  for (std::size_t c = 0; c < V; ++c) {
    double held = 0;  // what the state holds under this key
    for (std::size_t d = 0; d < K; ++d) {
      held += S[d * V + c] * x.k[d];
    }
    const double beta = x.beta[x.beta.size() > 1 ? c : 0];
    for (std::size_t d = 0; d < K; ++d) {
      S[d * V + c] += x.k[d] * beta * (x.v[c] - held);
    }
  }
}

/// A step of the general form: S = (diag(e^g) + b a^T) S + k v^T.
template <class Tag>
void naive_low_rank_step(std::vector<double>& S, const naive_token& x, const std::vector<double>& a,
                         const std::vector<double>& b) {
  const std::size_t K = x.k.size();
  const std::size_t V = x.v.size();
  for (std::size_t c = 0; c < V; ++c) {
    double read = 0;  // of the state before its decay
    for (std::size_t d = 0; d < K; ++d) {
      read += S[d * V + c] * a[d];
    }
    for (std::size_t d = 0; d < K; ++d) {
      const double kept = naive_kept<Tag>(x.decay[d], S[d * V + c]);
      S[d * V + c] = kept + b[d] * read + x.k[d] * x.v[c];
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
