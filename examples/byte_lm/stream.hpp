// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

#include "program.hpp"

struct stream_options {
  std::filesystem::path file = shipped("heldout.txt");
  std::size_t max_bytes = 32768;
  int context = 1024;
  int sinks = 4;
  int chunk = 256;
  int every = 64;
  double accept = 0;  // 0: anything
  std::filesystem::path plot{};
};

/// Follows a text that is longer than the context with a full cache, a window, and sinks and a
/// window, and compares them with recomputation.
void stream(const common_options& common, const stream_options& options);
