// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#define SEQMIX_PEER_EXPORT extern "C" __attribute__((visibility("default")))

/// Element types of softmax attention; all else is of float. operators.py has the same order.
enum class peer_types : std::int32_t {
  f32,
  bf16,           ///< queries, keys, values and output
  f32_over_bf16,  ///< keys and values of bf16
  f32_over_i8,    ///< keys and values of int8; seqmix: inputs 3 and 4 are their scales, of float
};

/// One call of one side, on dense tensors in the order of arguments and the layout of that side's
/// own operator. libraries.py has the same members in the same order.
struct peer_call {
  const char* operation;  // of the side
  const void* inputs[8];
  const float* state;        // before the first token; null: none
  void* output;              // ggml: the state after the last token lies behind the rows
  float* final_state;        // seqmix
  std::int64_t T, S, H, HK;  // queries, keys, their heads
  std::int64_t K, V;         // channels
  double scale;
  std::int32_t causal, threads;
  peer_types types;
  const char* implementation;  // seqmix: what the call is pinned to; null: free
};
