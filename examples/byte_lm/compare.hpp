// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "program.hpp"

struct compare_options {
  std::filesystem::path file = shipped("heldout.txt");
  std::vector<std::string> models{shipped_models.begin(), shipped_models.end()};
  std::vector<int> lengths{256, 1024, 4096, 16384, 65536};
  int max_cached = 4096;
  std::size_t max_bytes = 65536;
  int decode = 128;
  std::filesystem::path plot{};
};

/// Prints, for each model and context length, the bits per byte of a text cut into windows of that
/// length, the speed of single tokens behind a context of it, and what is remembered of it.
void compare(const common_options& common, const compare_options& options);
