// SPDX-License-Identifier: Apache-2.0
#include "predict.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>

std::vector<int> tokens_of(const model_config& config, std::string_view text) {
  std::vector<int> tokens{config.bos_token};
  for (const char c : text) {
    tokens.push_back(static_cast<unsigned char>(c));
  }
  return tokens;
}

double nats_of(const Eigen::Ref<const row_vector>& logits, char byte) {
  const auto row = logits.array();
  const float largest = row.maxCoeff();
  const double sum = static_cast<double>((row - largest).exp().sum());
  const float chosen = row(static_cast<unsigned char>(byte));
  return std::log(sum) - static_cast<double>(chosen - largest);
}

double bits_of(const model_config& config, session& s, std::string_view text) {
  if (text.empty()) {
    return 0;
  }
  s.clear();
  const std::vector<int> tokens = tokens_of(config, text.substr(0, text.size() - 1));
  double nats = 0;
  constexpr std::size_t chunk = 1024;  // bounds what logits and the like take
  for (std::size_t at = 0; at < tokens.size(); at += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - at);
    const auto logits = s.append(std::span(tokens).subspan(at, count));
    for (std::size_t i = 0; i < count; ++i) {
      nats += nats_of(logits.row(static_cast<Eigen::Index>(i)), text[at + i]);
    }
  }
  return nats / std::numbers::ln2;
}

int sampler::operator()(const Eigen::Ref<const row_vector>& logits) {
  constexpr int bytes = 256;
  int likeliest = 0;
  const double largest = static_cast<double>(logits.head(bytes).maxCoeff(&likeliest));
  if (temperature_ == 0) {
    return likeliest;
  }
  std::array<double, bytes> cumulative{};
  double sum = 0;
  for (int byte = 0; byte < bytes; ++byte) {
    sum += std::exp((static_cast<double>(logits(byte)) - largest) / temperature_);
    cumulative[static_cast<std::size_t>(byte)] = sum;
  }
  const double uniform = static_cast<double>(generator_() >> 11) * 0x1p-53;  // [0, 1)
  for (int byte = 0; byte < bytes; ++byte) {
    if (uniform * sum < cumulative[static_cast<std::size_t>(byte)]) {
      return byte;
    }
  }
  return likeliest;  // only if rounding took uniform * sum up to sum
}
