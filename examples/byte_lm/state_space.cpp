// SPDX-License-Identifier: Apache-2.0
#include "state_space.hpp"

#include <algorithm>
#include <seqmix/interop/eigen.hpp>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <seqmix/ops/selective_scan/selective_scan.hpp>
#include <seqmix/ops/selective_state_update/selective_state_update.hpp>
#include <seqmix/ops/ssd/ssd.hpp>

namespace {

/// The first `rows` tokens, `count` columns of them, as [1, rows, count].
seqmix::tensor_view<float, 3> tokens_of(matrix& m, Eigen::Index rows, Eigen::Index first,
                                        Eigen::Index count) {
  return {m.data() + first, {Eigen::Index{1}, rows, count}, {m.size(), m.cols(), Eigen::Index{1}}};
}

/// The same as [1, rows, heads, count / heads].
auto heads_of(matrix& m, Eigen::Index rows, Eigen::Index first, Eigen::Index count,
              Eigen::Index heads) {
  return seqmix::as_heads(m.block(0, first, rows, count), heads);
}

seqmix::tensor_view<const float, 1> numbers(const auto& m) { return {m.data(), {m.size()}}; }

std::vector<float> zeros(Eigen::Index count) {
  return std::vector<float>(static_cast<std::size_t>(count));
}

}  // namespace

void state_space_rows::resize(const model_config& c, Eigen::Index rows) {
  if (!c.any(is_state_space)) {
    return;
  }
  int widest = 0;
  int channels = 0;
  for (const mixer_kind kind : c.mixers) {
    if (kind == mixer_kind::mamba) {
      selected.resize(rows, c.dt_rank + 2 * c.state_size);
      steps.resize(rows, c.inner_width);
    }
    if (is_state_space(kind)) {
      const int heads = kind == mixer_kind::mamba2 ? c.inner_heads() : 0;
      widest = std::max(widest, c.inner_width + c.conv_channels(kind) + heads);
      channels = std::max(channels, c.conv_channels(kind));
    }
  }
  projected.resize(rows, widest);
  convolved.resize(rows, channels);
}

void state_space_rows::project(const state_space_weights& w, const Eigen::Ref<const matrix>& x,
                               Eigen::Index first, Eigen::Index count) {
  projected.block(first, 0, count, w.in.rows()).noalias() = x * w.in.transpose();
}

state_space::state_space(const model_config& c, mixer_kind kind)
    : kind_(kind),
      inner_(c.inner_width),
      size_(c.state_size),
      heads_(c.inner_heads()),
      channels_(c.conv_channels(kind)),
      inputs_kept_(c.conv_width - 1),
      norm_eps_(c.norm_eps),
      inputs_(zeros(channels_ * inputs_kept_)),
      state_(zeros(inner_ * size_)) {}

void state_space::clear() {
  std::fill(inputs_.begin(), inputs_.end(), 0.0f);
  std::fill(state_.begin(), state_.end(), 0.0f);
}

void state_space::convolve(const state_space_weights& w, Eigen::Index rows, state_space_rows& t,
                           const seqmix::context& ctx) {
  const Eigen::Index first = kind_ == mixer_kind::mamba ? 0 : inner_;  // behind z
  const seqmix::tensor_view<float, 3> inputs(inputs_.data(),
                                             {Eigen::Index{1}, channels_, inputs_kept_});
  seqmix::causal_conv1d_update(
      tokens_of(t.projected, rows, first, channels_), seqmix::as_view(w.conv),
      tokens_of(t.convolved, rows, 0, channels_), inputs,
      {.bias = numbers(w.conv_bias), .activation = seqmix::conv_activation::silu}, ctx);
}

void state_space::select(const state_space_weights& w, Eigen::Index first, Eigen::Index count,
                         state_space_rows& t) const {
  if (kind_ != mixer_kind::mamba) {
    return;
  }
  auto selected = t.selected.middleRows(first, count);
  selected.noalias() = t.convolved.block(first, 0, count, inner_) * w.select.transpose();
  t.steps.middleRows(first, count).noalias() =
      selected.leftCols(w.steps.cols()) * w.steps.transpose();
}

void state_space::scan(const state_space_weights& w, Eigen::Index rows, state_space_rows& t,
                       matrix& out, const seqmix::context& ctx) {
  if (kind_ == mixer_kind::mamba) {
    scan_channels(w, rows, t, out, ctx);
  } else {
    scan_heads(w, rows, t, out, ctx);
  }
}

void state_space::scan_channels(const state_space_weights& w, Eigen::Index rows,
                                state_space_rows& t, matrix& out, const seqmix::context& ctx) {
  const seqmix::tensor_view<float, 3> state(state_.data(), {Eigen::Index{1}, inner_, size_});
  const Eigen::Index rank = w.steps.cols();
  const auto x = tokens_of(t.convolved, rows, 0, inner_);
  const auto z = tokens_of(t.projected, rows, inner_, inner_);
  const auto steps = tokens_of(t.steps, rows, 0, inner_);
  const auto rates = seqmix::as_view(w.negative_rate);
  const auto in = heads_of(t.selected, rows, rank, size_, 1);
  const auto read = heads_of(t.selected, rows, rank + size_, size_, 1);
  const auto y = tokens_of(out, rows, 0, inner_);
  if (rows == 1) {
    seqmix::selective_state_update(
        state, x, steps, rates, in, read, y,
        {.D = numbers(w.skip), .z = z, .delta_bias = numbers(w.step_bias), .delta_softplus = true},
        ctx);
    return;
  }
  seqmix::selective_scan(x, steps, rates, in, read, y,
                         {.D = numbers(w.skip),
                          .z = z,
                          .delta_bias = numbers(w.step_bias),
                          .delta_softplus = true,
                          .initial_state = state,
                          .final_state = state},
                         ctx);
}

void state_space::scan_heads(const state_space_weights& w, Eigen::Index rows, state_space_rows& t,
                             matrix& out, const seqmix::context& ctx) {
  const seqmix::tensor_view<float, 4> state(state_.data(),
                                            {Eigen::Index{1}, heads_, size_, inner_ / heads_});
  seqmix::ssd(heads_of(t.convolved, rows, 0, inner_, heads_),
              tokens_of(t.projected, rows, inner_ + channels_, heads_), numbers(w.negative_rate),
              heads_of(t.convolved, rows, inner_, size_, 1),
              heads_of(t.convolved, rows, inner_ + size_, size_, 1),
              heads_of(out, rows, 0, inner_, heads_),
              {.D = numbers(w.skip),
               .dt_bias = numbers(w.step_bias),
               .dt_softplus = true,
               .initial_state = state,
               .final_state = state},
              ctx);
  seqmix::output_norm_inplace(heads_of(out, rows, 0, inner_, 1),
                              {.kind = seqmix::output_norm_kind::rms,
                               .eps = static_cast<double>(norm_eps_),
                               .weight = seqmix::as_view(w.output_norm),
                               .gate = heads_of(t.projected, rows, 0, inner_, 1),
                               .gate_by = seqmix::output_gate::silu,
                               .gate_place = seqmix::output_gate_place::before_norm},
                              ctx);
}
