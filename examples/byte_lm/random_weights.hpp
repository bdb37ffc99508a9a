// SPDX-License-Identifier: Apache-2.0
// Weight files of untrained models, for tests of what no shipped model has.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <seqmix/core/scalar.hpp>
#include <string>
#include <vector>

/// A safetensors file in the making, of random bf16 numbers; the same ones at every run.
class random_weights {
 public:
  /// Adds a tensor of numbers in centre +- spread.
  void add(const std::string& name, const std::vector<int>& shape, float spread, float centre = 0) {
    std::string extents;
    std::size_t count = 1;
    for (const int extent : shape) {
      extents += (extents.empty() ? "" : ",") + std::to_string(extent);
      count *= static_cast<std::size_t>(extent);
    }
    header_ += ",\"" + name + R"(":{"dtype":"BF16","shape":[)" + extents + R"(],"data_offsets":[)" +
               std::to_string(data_.size()) + "," + std::to_string(data_.size() + 2 * count) + "]}";
    for (std::size_t i = 0; i < count; ++i) {
      const float unit = static_cast<float>(bits_() >> 8) * 0x1p-23f - 1;
      const seqmix::bf16 value(centre + spread * unit);
      data_ += static_cast<char>(value.bits & 0xff);
      data_ += static_cast<char>(value.bits >> 8);
    }
  }

  /// Adds a matrix [rows, columns] whose products are as large as what it multiplies.
  void add_matrix(const std::string& name, int rows, int columns) {
    add(name, {rows, columns}, std::sqrt(3.0f / static_cast<float>(columns)));
  }

  std::string file(const std::string& metadata) const {
    const std::string header = R"({"__metadata__":{)" + metadata + "}" + header_ + "}";
    std::string length;
    for (std::size_t i = 0; i < 8; ++i) {
      length += static_cast<char>(header.size() >> (8 * i) & 0xff);
    }
    return length + header + data_;
  }

 private:
  std::mt19937 bits_{1611};
  std::string header_;
  std::string data_;
};

/// The weight file of a small model with these mixers, of softmax, mamba and mamba2.
inline std::string random_model(const std::vector<std::string>& mixers) {
  constexpr int size = 24, heads = 2, head_dim = 8, hidden = 16;
  constexpr int inner = 32, states = 5, taps = 4, rank = 3;
  constexpr int inner_heads = inner / head_dim;
  constexpr int mixed = inner + 2 * states;  // what mamba2 convolves
  random_weights w;
  std::string names;
  w.add("tok_embedding.weight", {257, size}, 1);
  for (std::size_t layer = 0; layer < mixers.size(); ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const std::string block = prefix + "attention.";
    names += (names.empty() ? "" : ",") + mixers[layer];
    w.add(prefix + "attention_norm.weight", {size}, 0.2f, 1);
    if (mixers[layer] == "softmax") {
      for (const char* name : {"q", "k", "v"}) {
        w.add_matrix(block + name + ".weight", heads * head_dim, size);
      }
      w.add_matrix(block + "o.weight", size, heads * head_dim);
    } else {
      const bool by_head = mixers[layer] == "mamba2";
      const int channels = by_head ? mixed : inner;
      const int steps = by_head ? inner_heads : inner;
      w.add_matrix(block + "in_proj.weight", inner + channels + (by_head ? steps : 0), size);
      w.add_matrix(block + "conv.weight", channels, taps);
      w.add(block + "conv.bias", {channels}, 0.5f);
      w.add(block + "dt_bias", {steps}, 2, -2);
      w.add(block + "d", {steps}, 0.5f, 1);
      if (by_head) {
        w.add(block + "a_log", {steps}, 1.5f, 1);
        w.add(block + "output_norm.weight", {inner}, 0.2f, 1);
      } else {
        w.add(block + "a_log", {inner, states}, 1.5f, 1);
        w.add_matrix(block + "x_proj.weight", rank + 2 * states, inner);
        w.add_matrix(block + "dt_proj.weight", inner, rank);
      }
      w.add_matrix(block + "o.weight", size, inner);
    }
    w.add(prefix + "mlp_norm.weight", {size}, 0.2f, 1);
    w.add_matrix(prefix + "mlp.gate.weight", hidden, size);
    w.add_matrix(prefix + "mlp.up.weight", hidden, size);
    w.add_matrix(prefix + "mlp.down.weight", size, hidden);
  }
  w.add("final_norm.weight", {size}, 0.2f, 1);
  w.add_matrix("head.weight", 257, size);

  std::string metadata =
      R"("format":"seqmix-byte-lm-2","rope_layout":"half_split","rope_base":"10000",)"
      R"("norm_eps":"1e-05","mixers":")" +
      names + "\"";
  const auto number = [&](const std::string& key, int value) {
    metadata += ",\"" + key + "\":\"" + std::to_string(value) + "\"";
  };
  number("vocabulary", 257);
  number("bos_token", 256);
  number("context_length", 1024);
  number("layers", static_cast<int>(mixers.size()));
  number("d_model", size);
  number("query_heads", heads);
  number("kv_heads", heads);
  number("head_dim", head_dim);
  number("mlp_hidden", hidden);
  number("window", 64);
  number("gate_rank", 0);
  number("inner_width", inner);
  number("state_size", states);
  number("conv_width", taps);
  number("dt_rank", rank);
  return w.file(metadata);
}
