// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/report.hpp>
#include <string_view>

#include "call.hpp"

namespace seqmix_bench {

template <class T = float>
const T* input(const peer_call& call, int i) {
  return static_cast<const T*>(call.inputs[i]);
}

template <class T = float>
T* output(const peer_call& call) {
  return static_cast<T*>(call.output);
}

/// An operator behind a peer_call: runs it, and says what dispatch chose.
struct peer_operator {
  std::string_view name;
  void (*run)(const peer_call& call, const seqmix::context& ctx);
  seqmix::dispatch_report (*explain)(const peer_call& call, const seqmix::context& ctx);
};

/// The operator of that name among those of recurrences.cpp, scans.cpp and softmax.cpp, or null.
const peer_operator* find_recurrence(std::string_view name);
const peer_operator* find_scan(std::string_view name);
const peer_operator* find_softmax(std::string_view name);

}  // namespace seqmix_bench
