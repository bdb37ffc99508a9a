// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <string_view>

#include "model.hpp"

/// BOS and the bytes of a text, as tokens.
std::vector<int> tokens_of(const model_config& config, std::string_view text);

/// -log p(byte), natural, by the logits that it was to be predicted from.
double nats_of(const Eigen::Ref<const row_vector>& logits, char byte);

/// The sum of -log2 p(byte) over a text of at most a session's capacity, each byte predicted from
/// BOS and the bytes before it.
double bits_of(const model_config& config, session& s, std::string_view text);

/// Draws the next byte. BOS is never drawn. It has its own arithmetic down from the generator's
/// bits, so that a seed gives the same text with every standard library.
class sampler {
 public:
  /// At temperature 0 the likeliest byte is taken.
  sampler(double temperature, std::uint64_t seed) : temperature_(temperature), generator_(seed) {}

  int operator()(const Eigen::Ref<const row_vector>& logits);

 private:
  double temperature_;
  std::mt19937_64 generator_;
};
