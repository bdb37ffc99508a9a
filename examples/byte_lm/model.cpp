// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "blocks.hpp"

namespace {

void rms_norm(const auto& x, const row_vector& weight, float eps, auto&& y) {
  for (Eigen::Index row = 0; row < x.rows(); ++row) {
    const float mean_square = x.row(row).squaredNorm() / static_cast<float>(x.cols());
    y.row(row) = x.row(row).cwiseProduct(weight) * (1.0f / std::sqrt(mean_square + eps));
  }
}

}  // namespace

session::session(const model& m, int capacity, seqmix::executor_ref executor,
                 attention_choice attention)
    : model_(m),
      executor_(executor),
      capacity_(attention.window > 0 || !m.config.grows() ? std::numeric_limits<std::int64_t>::max()
                                                          : capacity) {
  if (capacity < 1) {
    throw std::invalid_argument("a session needs room for a token");
  }
  for (std::size_t layer = 0; layer < m.layers.size(); ++layer) {
    mixers_.push_back(mixer_for(m.config, layer, capacity, attention));
  }
}

void session::clear() {
  length_ = 0;
  for (mixer& m : mixers_) {
    std::visit([](auto& kind) { kind.clear(); }, m);
  }
}

std::size_t session::cache_bytes() const {
  std::size_t sum = 0;
  for (const mixer& m : mixers_) {
    sum += std::visit([](const auto& kind) { return kind.bytes(); }, m);
  }
  return sum;
}

Eigen::Map<const matrix> session::append(std::span<const int> tokens) {
  const model_config& c = model_.config;
  const auto rows = static_cast<Eigen::Index>(tokens.size());
  if (rows > capacity_ - length_) {
    throw std::length_error("a session with room for " + std::to_string(capacity_) +
                            " tokens cannot hold " + std::to_string(length_ + rows));
  }
  if (rows > x_.rows()) {
    x_.resize(rows, c.d_model);
    normed_.resize(rows, c.d_model);
    mixed_.resize(c, rows);
    gate_.resize(rows, c.mlp_hidden);
    up_.resize(rows, c.mlp_hidden);
    logits_.resize(rows, c.vocabulary);
  }

  // One block, and the step of a single token above all, is over before a team is awake.
  context_.executor = rows > block_rows ? executor_ : seqmix::executor_ref{};
  for (Eigen::Index row = 0; row < rows; ++row) {
    const int token = tokens[static_cast<std::size_t>(row)];
    if (token < 0 || token >= c.vocabulary) {
      throw std::out_of_range("no token " + std::to_string(token));
    }
    x_.row(row) = model_.embedding.row(token);
  }
  for (std::size_t layer = 0; layer < model_.layers.size(); ++layer) {
    const layer_weights& w = model_.layers[layer];
    for_blocks(context_.executor, rows,
               [&](Eigen::Index first, Eigen::Index count) { project(layer, first, count); });
    seqmix_seconds_ += mix(mixers_[layer], c, w, rows, mixed_, context_);
    for_blocks(context_.executor, rows,
               [&](Eigen::Index first, Eigen::Index count) { finish_layer(w, first, count); });
  }
  for_blocks(context_.executor, rows, [&](Eigen::Index first, Eigen::Index count) {
    auto y = normed_.middleRows(first, count);
    rms_norm(x_.middleRows(first, count), model_.final_norm, c.norm_eps, y);
    logits_.middleRows(first, count).noalias() = y * model_.head.transpose();
  });
  length_ += rows;
  return {logits_.data(), rows, logits_.cols()};
}

void session::project(std::size_t layer, Eigen::Index first, Eigen::Index rows) {
  const layer_weights& w = model_.layers[layer];
  auto y = normed_.middleRows(first, rows);
  rms_norm(x_.middleRows(first, rows), w.attention_norm, model_.config.norm_eps, y);
  mixed_.project(model_.config.mixers[layer], w, y, first, rows);
}

void session::finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows) {
  auto x = x_.middleRows(first, rows);
  x.noalias() += mixed_.out.block(first, 0, rows, w.o.cols()) * w.o.transpose();

  auto y = normed_.middleRows(first, rows);
  auto gate = gate_.middleRows(first, rows);
  auto up = up_.middleRows(first, rows);
  rms_norm(x, w.mlp_norm, model_.config.norm_eps, y);
  gate.noalias() = y * w.gate.transpose();
  up.noalias() = y * w.up.transpose();
  gate.array() = gate.array() / (1.0f + (-gate.array()).exp()) * up.array();
  x.noalias() += gate * w.down.transpose();
}
