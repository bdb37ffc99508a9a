// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "program.hpp"

struct generate_options {
  std::string prompt;
  int length = 200;
  double temperature = 0.8;
  std::uint64_t seed = 0;
};

/// Continues a text, byte by byte.
void generate(const common_options& common, const generate_options& options);
