// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#define SEQMIX_PEER_EXPORT extern "C" __attribute__((visibility("default")))

/// One call of one side, on dense tensors in the order of arguments and the layout of that side's
/// own operator. libraries.py has the same members in the same order.
struct peer_call {
  const char* operation;  // of the side
  const float* inputs[8];
  const float* state;        // before the first token; null: none
  float* output;             // ggml: the state after the last token lies behind the rows
  float* final_state;        // seqmix
  std::int64_t T, S, H, HK;  // queries, keys, their heads
  std::int64_t K, V;         // channels
  double scale;
  std::int32_t causal, threads;
};
