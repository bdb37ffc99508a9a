// SPDX-License-Identifier: Apache-2.0
// The calls to seqmix: rotary embedding, KV caches, attention.
#pragma once

#include <cstddef>
#include <seqmix/seqmix.hpp>
#include <variant>
#include <vector>

#include "config.hpp"

/// How a session runs its attention, and what it remembers; all else is fp32 on the CPU.
struct attention_choice {
  bool half = false;  // queries, keys, values and results in f16, which is what a GPU takes
  seqmix::device_policy device = seqmix::device_policy::cpu;
  int sinks = 0;   // first tokens that stay when a window forgets
  int window = 0;  // last tokens that are remembered; 0: all of them
};

/// New tokens of one sequence, queries and keys before rotary embedding. Both may be overwritten.
struct attention_rows {
  seqmix::tensor_view<float, 4> q;        // [1, T, H, D]
  seqmix::tensor_view<float, 4> k;        // [1, T, HK, D]
  seqmix::tensor_view<const float, 4> v;  // [1, T, HK, D]
  seqmix::tensor_view<float, 4> o;        // [1, T, H, D], the results
};

/// Every layer's attention to all tokens so far, in T.
template <class T>
class full_attention {
 public:
  full_attention(const model_config& config, int capacity, seqmix::device_policy device);

  void attend(std::size_t layer, const attention_rows& t, const seqmix::context& ctx);
  void clear();
  std::size_t bytes() const;

 private:
  seqmix::rope_options rotation_;
  seqmix::device_policy device_;
  std::vector<seqmix::kv_cache<T>> caches_;  // one for each layer
  std::vector<T> q_, k_, v_, o_;             // in T, when that is not float
};

/// Every layer's attention to the sinks and the last tokens, in constant memory.
class window_attention {
 public:
  window_attention(const model_config& config, int sinks, int window);

  void attend(std::size_t layer, const attention_rows& t, const seqmix::context& ctx);
  void clear();
  std::size_t bytes() const;

 private:
  std::vector<seqmix::sink_window_cache<float>> caches_;  // one for each layer
};

using session_attention =
    std::variant<full_attention<float>, full_attention<seqmix::f16>, window_attention>;

session_attention attention_for(const model_config& config, int capacity,
                                const attention_choice& choice);
