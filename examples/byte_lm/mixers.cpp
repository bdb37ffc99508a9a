// SPDX-License-Identifier: Apache-2.0
#include "mixers.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <seqmix/interop/eigen.hpp>
#include <stdexcept>

#include "blocks.hpp"

namespace {

double seconds_of(const auto& f) {
  const auto began = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

mixer mixer_for(const model_config& config, std::size_t layer, int capacity,
                const attention_choice& choice) {
  const bool plain = !choice.half && choice.device != seqmix::device_policy::cuda;
  if (config.mixers[layer] != mixer_kind::softmax) {
    if (!plain) {
      throw std::invalid_argument("a recurrent layer runs in fp32 on the CPU");
    }
    const mixer_kind kind = config.mixers[layer];
    return is_state_space(kind) ? mixer(state_space(config, kind))
                                : mixer(recurrence(config, kind));
  }
  const int window = choice.window > 0 ? choice.window : config.window;
  if (window > 0) {
    if (!plain) {
      throw std::invalid_argument("a window runs in fp32 on the CPU");
    }
    return window_attention(config, choice.sinks, window);
  }
  if (choice.half) {
    return full_attention<seqmix::f16>(config, capacity, choice.device);
  }
  return full_attention<float>(config, capacity, choice.device);
}

void mixer_rows::resize(const model_config& c, Eigen::Index rows) {
  if (c.any(is_softmax) || c.any(is_matrix_recurrence)) {
    q.resize(rows, c.query_heads * c.head_dim);
    k.resize(rows, c.kv_heads * c.head_dim);
    v.resize(rows, c.kv_heads * c.head_dim);
  }
  gates.resize(c, rows);
  space.resize(c, rows);
  out.resize(rows, std::max<Eigen::Index>(q.cols(), c.inner_width));
}

void mixer_rows::project(mixer_kind kind, const layer_weights& w, const Eigen::Ref<const matrix>& x,
                         Eigen::Index first, Eigen::Index count) {
  if (is_state_space(kind)) {
    space.project(w.space, x, first, count);
    return;
  }
  q.middleRows(first, count).noalias() = x * w.q.transpose();
  k.middleRows(first, count).noalias() = x * w.k.transpose();
  v.middleRows(first, count).noalias() = x * w.v.transpose();
  if (is_matrix_recurrence(kind)) {
    gates.project(kind, w.gates, x, first, count);
  }
}

double mix(mixer& m, const model_config& c, const layer_weights& w, Eigen::Index rows,
           mixer_rows& t, const seqmix::context& ctx) {
  if (state_space* space = std::get_if<state_space>(&m)) {
    const double convolving = seconds_of([&] { space->convolve(w.space, rows, t.space, ctx); });
    for_blocks(ctx.executor, rows, [&](Eigen::Index first, Eigen::Index count) {
      space->select(w.space, first, count, t.space);
    });
    return convolving + seconds_of([&] { space->scan(w.space, rows, t.space, t.out, ctx); });
  }
  const attention_rows a{
      .q = seqmix::as_heads(t.q.topRows(rows), c.query_heads),
      .k = seqmix::as_heads(t.k.topRows(rows), c.kv_heads),
      .v = seqmix::as_heads(t.v.topRows(rows), c.kv_heads),
      .o = seqmix::as_heads(t.out.topLeftCorner(rows, t.q.cols()), c.query_heads)};
  return seconds_of([&] {
    std::visit(
        [&]<class M>(M& kind) {
          if constexpr (std::same_as<M, recurrence>) {
            kind.attend(a, t.gates, w.gates, ctx);
          } else if constexpr (!std::same_as<M, state_space>) {
            kind.attend(a, ctx);
          }
        },
        m);
  });
}
