// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

#include "program.hpp"

struct score_options {
  std::filesystem::path file = shipped("heldout.txt");
  int window = 1024;
  std::size_t max_bytes = 0;  // 0: all
  double expect = 0;          // 0: anything
  double tolerance = 0.001;
};

/// Prints the bits per byte that a text takes, window by window.
void score(const common_options& common, const score_options& options);
