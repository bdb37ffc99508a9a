// SPDX-License-Identifier: Apache-2.0
// Softmax attention of one layer: rotary embedding, KV cache, attention.
#pragma once

#include <cstddef>
#include <seqmix/seqmix.hpp>
#include <vector>

#include "config.hpp"

/// How a session runs its softmax layers, and what they remember; all else is fp32 on the CPU.
struct attention_choice {
  bool half = false;  // queries, keys, values and results in f16, which is what a GPU takes
  seqmix::device_policy device = seqmix::device_policy::cpu;
  int sinks = 0;   // first tokens that stay when a window forgets
  int window = 0;  // last tokens that are remembered; 0: what the model says
};

/// New tokens of one sequence, queries and keys before rotary embedding. Both may be overwritten.
struct attention_rows {
  seqmix::tensor_view<float, 4> q;        // [1, T, H, D]
  seqmix::tensor_view<float, 4> k;        // [1, T, HK, D]
  seqmix::tensor_view<const float, 4> v;  // [1, T, HK, D]
  seqmix::tensor_view<float, 4> o;        // [1, T, H, D], the results
};

/// Attention to all tokens so far, in T.
template <class T>
class full_attention {
 public:
  full_attention(const model_config& config, int capacity, seqmix::device_policy device);

  void attend(const attention_rows& t, const seqmix::context& ctx);
  void clear() { cache_.truncate(0); }
  std::size_t bytes() const { return cache_.bytes(); }

 private:
  seqmix::rope_options rotation_;
  seqmix::device_policy device_;
  seqmix::kv_cache<T> cache_;
  std::vector<T> q_, k_, v_, o_;  // in T, when that is not float
};

/// Attention to the sinks and the last tokens, in constant memory.
class window_attention {
 public:
  window_attention(const model_config& config, int sinks, int window);

  void attend(const attention_rows& t, const seqmix::context& ctx);
  void clear() { cache_.truncate(0); }
  std::size_t bytes() const { return cache_.bytes(); }

 private:
  seqmix::sink_window_cache<float> cache_;
};
