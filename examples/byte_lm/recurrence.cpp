// SPDX-License-Identifier: Apache-2.0
#include "recurrence.hpp"

#include <algorithm>
#include <seqmix/interop/eigen.hpp>

namespace {

/// log(1 + e^x), without overflow.
auto softplus(const auto& x) { return x.max(0.0f) + (-x.abs()).exp().log1p(); }

constexpr float gla_temperature = 16;

}  // namespace

void gate_rows::resize(const model_config& c, Eigen::Index rows) {
  if (!c.any(is_matrix_recurrence)) {
    return;
  }
  const int size = c.query_heads * c.head_dim;
  low_rank.resize(rows, c.gate_rank);
  decay.resize(rows, size);
  beta.resize(rows, c.query_heads);
  output.resize(rows, size);
}

void gate_rows::project(mixer_kind kind, const gate_weights& w, const Eigen::Ref<const matrix>& x,
                        Eigen::Index first, Eigen::Index count) {
  output.middleRows(first, count).noalias() = x * w.output.transpose();
  auto g = decay.block(first, 0, count, w.decay.rows());
  if (kind == mixer_kind::gated_delta_net) {
    g.noalias() = x * w.decay.transpose();
  } else {
    auto narrow = low_rank.middleRows(first, count);
    narrow.noalias() = x * w.decay_down.transpose();
    g.noalias() = narrow * w.decay.transpose();
  }
  g.rowwise() += w.decay_bias;
  if (kind == mixer_kind::gla) {
    g.array() = -softplus(-g.array()) / gla_temperature;
    return;
  }
  const Eigen::Index each = g.cols() / w.negative_rate.cols();  // decays of one head
  for (Eigen::Index h = 0; h < w.negative_rate.cols(); ++h) {
    auto of_head = g.middleCols(h * each, each).array();
    of_head = w.negative_rate(h) * softplus(of_head);
  }
  auto b = beta.middleRows(first, count);
  b.noalias() = x * w.beta.transpose();
  b.array() = 1.0f / (1.0f + (-b.array()).exp());
}

recurrence::recurrence(const model_config& c, mixer_kind kind)
    : kind_(kind),
      heads_(c.query_heads),
      head_dim_(c.head_dim),
      norm_eps_(c.norm_eps),
      state_(static_cast<std::size_t>(c.query_heads) * static_cast<std::size_t>(c.head_dim) *
             static_cast<std::size_t>(c.head_dim)) {}

void recurrence::clear() { std::fill(state_.begin(), state_.end(), 0.0f); }

void recurrence::attend(const attention_rows& t, const gate_rows& gates, const gate_weights& w,
                        const seqmix::context& ctx) {
  const std::int64_t rows = t.q.extent(1);
  const seqmix::tensor_view<float, 4> state(state_.data(), {1, heads_, head_dim_, head_dim_});
  const seqmix::recurrence_options options{.initial_state = state,
                                           .final_state = state,
                                           .l2norm = kind_ != mixer_kind::gla,
                                           .l2norm_eps = 1e-6};
  const seqmix::tensor_view<const float, 3> beta(gates.beta.data(), {1, rows, heads_});
  const auto by_channel = seqmix::as_heads(gates.decay.topRows(rows), heads_);
  switch (kind_) {
    case mixer_kind::gla:
      seqmix::gated_linear_attention(t.q, t.k, t.v, by_channel, t.o, options, ctx);
      break;
    case mixer_kind::kda:
      seqmix::kda(t.q, t.k, t.v, by_channel, beta, t.o, options, ctx);
      break;
    default: {
      const seqmix::tensor_view<const float, 3> by_head(
          gates.decay.data(), {1, rows, heads_},
          {rows * gates.decay.cols(), gates.decay.cols(), Eigen::Index{1}});
      seqmix::gated_delta_rule(t.q, t.k, t.v, by_head, beta, t.o, options, ctx);
      break;
    }
  }
  seqmix::output_norm_inplace(t.o,
                              {.kind = seqmix::output_norm_kind::rms,
                               .eps = static_cast<double>(norm_eps_),
                               .weight = seqmix::as_view(w.output_norm),
                               .gate = seqmix::as_heads(gates.output.topRows(rows), heads_),
                               .gate_by = seqmix::output_gate::silu},
                              ctx);
}
