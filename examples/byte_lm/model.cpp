// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <seqmix/interop/eigen.hpp>
#include <stdexcept>
#include <string>

#include "safetensors.hpp"

namespace {

// ---- the weight file ----

/// The number that the metadata holds under `key`, in [low, high].
template <class T>
T number(const safetensors_file& file, const std::string& key, T low, T high) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    file.fail("__metadata__ has no " + key);
  }
  const std::string& text = found->second;
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size() || !(value >= low) ||
      !(value <= high)) {
    file.fail("__metadata__ has " + key + " = \"" + text + "\"");
  }
  return value;
}

void expect_text(const safetensors_file& file, const std::string& key, const std::string& value) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end() || found->second != value) {
    file.fail("not the weights of a byte_lm: expected __metadata__ " + key + " = \"" + value +
              "\", got " + (found == file.metadata().end() ? "none" : "\"" + found->second + "\""));
  }
}

model_config read_config(const safetensors_file& file) {
  expect_text(file, "format", "seqmix-byte-lm-1");
  expect_text(file, "rope_layout", "half_split");
  constexpr int most = 1 << 16;
  model_config c;
  c.vocabulary = number(file, "vocabulary", 257, 257);
  c.bos_token = number(file, "bos_token", 256, 256);
  c.context_length = number(file, "context_length", 1, 1 << 20);
  c.layers = number(file, "layers", 1, 1024);
  c.d_model = number(file, "d_model", 1, most);
  c.kv_heads = number(file, "kv_heads", 1, most);
  c.query_heads = number(file, "query_heads", 1, most);
  c.head_dim = number(file, "head_dim", 2, 1024);
  c.mlp_hidden = number(file, "mlp_hidden", 1, most);
  c.rope_base = number(file, "rope_base", 1.0, 1e12);
  c.norm_eps = number(file, "norm_eps", 0.0f, 1.0f);
  if (c.query_heads % c.kv_heads != 0 || c.head_dim % 2 != 0) {
    file.fail("__metadata__ has " + std::to_string(c.query_heads) + " query heads of size " +
              std::to_string(c.head_dim) + " and " + std::to_string(c.kv_heads) + " KV heads");
  }
  return c;
}

void to_float(std::span<const std::byte> bytes, float* to) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    seqmix::bf16 value;
    value.bits = static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[i]) |
                                            std::to_integer<unsigned>(bytes[i + 1]) << 8);
    *to++ = static_cast<float>(value);
  }
}

matrix read_matrix(const safetensors_file& file, const std::string& name, int rows, int columns) {
  const auto bytes = file.tensor(
      name, "BF16", {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)});
  matrix result(rows, columns);
  to_float(bytes, result.data());
  return result;
}

row_vector read_vector(const safetensors_file& file, const std::string& name, int size) {
  const auto bytes = file.tensor(name, "BF16", {static_cast<std::uint64_t>(size)});
  row_vector result(size);
  to_float(bytes, result.data());
  return result;
}

// ---- arithmetic on rows ----

/// Rows that one task takes through a chain of products: few enough to stay in the core's cache.
constexpr Eigen::Index block_rows = 128;

/// Calls f(first, rows) for each block of rows, in parallel.
template <class F>
void for_blocks(const seqmix::executor_ref& executor, Eigen::Index rows, const F& f) {
  auto task = [&](std::int64_t block, int) {
    const Eigen::Index first = block * block_rows;
    f(first, std::min(block_rows, rows - first));
  };
  executor.run((rows + block_rows - 1) / block_rows, task);
}

void rms_norm(const auto& x, const row_vector& weight, float eps, auto&& y) {
  for (Eigen::Index row = 0; row < x.rows(); ++row) {
    const float mean_square = x.row(row).squaredNorm() / static_cast<float>(x.cols());
    y.row(row) = x.row(row).cwiseProduct(weight) * (1.0f / std::sqrt(mean_square + eps));
  }
}

}  // namespace

model::model(const std::filesystem::path& weights) {
  const safetensors_file file(weights);
  const model_config c = config = read_config(file);
  embedding = read_matrix(file, "tok_embedding.weight", c.vocabulary, c.d_model);
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const int q_size = c.query_heads * c.head_dim;
    const int kv_size = c.kv_heads * c.head_dim;
    layer_weights& w = layers.emplace_back();
    w.attention_norm = read_vector(file, prefix + "attention_norm.weight", c.d_model);
    w.q = read_matrix(file, prefix + "attention.q.weight", q_size, c.d_model);
    w.k = read_matrix(file, prefix + "attention.k.weight", kv_size, c.d_model);
    w.v = read_matrix(file, prefix + "attention.v.weight", kv_size, c.d_model);
    w.o = read_matrix(file, prefix + "attention.o.weight", c.d_model, q_size);
    w.mlp_norm = read_vector(file, prefix + "mlp_norm.weight", c.d_model);
    w.gate = read_matrix(file, prefix + "mlp.gate.weight", c.mlp_hidden, c.d_model);
    w.up = read_matrix(file, prefix + "mlp.up.weight", c.mlp_hidden, c.d_model);
    w.down = read_matrix(file, prefix + "mlp.down.weight", c.d_model, c.mlp_hidden);
  }
  final_norm = read_vector(file, "final_norm.weight", c.d_model);
  head = read_matrix(file, "head.weight", c.vocabulary, c.d_model);

  const std::size_t used = 3 + 9 * layers.size();
  if (file.tensor_count() != used) {
    file.fail("has " + std::to_string(file.tensor_count()) + " tensors; a model of " +
              std::to_string(c.layers) + " layers has " + std::to_string(used));
  }
}

session::session(const model& m, int capacity, seqmix::executor_ref executor,
                 attention_choice attention)
    : model_(m),
      executor_(executor),
      attention_(attention_for(m.config, capacity, attention)),
      capacity_(attention.window > 0 ? std::numeric_limits<std::int64_t>::max() : capacity) {
  if (capacity < 1) {
    throw std::invalid_argument("a session needs room for a token");
  }
}

void session::clear() {
  length_ = 0;
  std::visit([](auto& a) { a.clear(); }, attention_);
}

std::size_t session::cache_bytes() const {
  return std::visit([](const auto& a) { return a.bytes(); }, attention_);
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
    q_.resize(rows, c.query_heads * c.head_dim);
    k_.resize(rows, c.kv_heads * c.head_dim);
    v_.resize(rows, c.kv_heads * c.head_dim);
    attended_.resize(rows, c.query_heads * c.head_dim);
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
               [&](Eigen::Index first, Eigen::Index count) { project(w, first, count); });
    attend(layer, rows);
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

void session::project(const layer_weights& w, Eigen::Index first, Eigen::Index rows) {
  auto y = normed_.middleRows(first, rows);
  rms_norm(x_.middleRows(first, rows), w.attention_norm, model_.config.norm_eps, y);
  q_.middleRows(first, rows).noalias() = y * w.q.transpose();
  k_.middleRows(first, rows).noalias() = y * w.k.transpose();
  v_.middleRows(first, rows).noalias() = y * w.v.transpose();
}

void session::attend(std::size_t layer, Eigen::Index rows) {
  const auto began = std::chrono::steady_clock::now();
  const model_config& c = model_.config;
  const attention_rows t{.q = seqmix::as_heads(q_.topRows(rows), c.query_heads),
                         .k = seqmix::as_heads(k_.topRows(rows), c.kv_heads),
                         .v = seqmix::as_heads(v_.topRows(rows), c.kv_heads),
                         .o = seqmix::as_heads(attended_.topRows(rows), c.query_heads)};
  std::visit([&](auto& a) { a.attend(layer, t, context_); }, attention_);
  seqmix_seconds_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

void session::finish_layer(const layer_weights& w, Eigen::Index first, Eigen::Index rows) {
  auto x = x_.middleRows(first, rows);
  x.noalias() += attended_.middleRows(first, rows) * w.o.transpose();

  auto y = normed_.middleRows(first, rows);
  auto gate = gate_.middleRows(first, rows);
  auto up = up_.middleRows(first, rows);
  rms_norm(x, w.mlp_norm, model_.config.norm_eps, y);
  gate.noalias() = y * w.gate.transpose();
  up.noalias() = y * w.up.transpose();
  gate.array() = gate.array() / (1.0f + (-gate.array()).exp()) * up.array();
  x.noalias() += gate * w.down.transpose();
}
