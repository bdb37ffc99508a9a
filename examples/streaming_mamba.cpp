// SPDX-License-Identifier: Apache-2.0
// Bits per byte of what comes through a pipe, for as long as it comes, in constant memory:
//     tail -f access.log | streaming_mamba mamba.safetensors
// The model is that of the byte_lm folder; any of its weight files with states in all layers will
// do.
#include <sys/resource.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <numbers>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "byte_lm/predict.hpp"

namespace {

void report(long long bytes, double nats, std::size_t state_bytes) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%lld bytes: %.6f bits per byte, state %.1f KiB, peak memory %ld KiB\n", bytes,
              nats / std::numbers::ln2 / static_cast<double>(bytes),
              static_cast<double>(state_bytes) / 1024, usage.ru_maxrss);
  std::fflush(stdout);
}

/// Reports behind every so many bytes, and at the end.
void follow(std::istream& in, const model& m, long long every) {
  session s(m, 1);
  std::array<char, 1024> chunk;
  std::vector<int> tokens;
  int last = m.config.bos_token;  // what the next byte is predicted from, with the state
  long long bytes = 0;
  double nats = 0;
  while (in.read(chunk.data(), chunk.size()) || in.gcount() > 0) {
    tokens.clear();
    for (std::streamsize i = 0; i < in.gcount(); ++i) {
      tokens.push_back(last);
      last = static_cast<unsigned char>(chunk[static_cast<std::size_t>(i)]);
    }
    const auto logits = s.append(tokens);
    for (Eigen::Index i = 0; i < logits.rows(); ++i) {
      nats += nats_of(logits.row(i), chunk[static_cast<std::size_t>(i)]);
    }
    bytes += logits.rows();
    if (bytes / every > (bytes - logits.rows()) / every) {
      report(bytes, nats, s.cache_bytes());
    }
  }
  if (bytes == 0) {
    throw std::runtime_error("nothing came through the pipe");
  }
  report(bytes, nats, s.cache_bytes());
}

}  // namespace

int main(int argc, char** argv) {
  const bool help = argc == 2 && std::string_view(argv[1]) == "--help";
  const long long every = argc == 3 ? std::atoll(argv[2]) : 1 << 16;
  if (help || argc < 2 || argc > 3 || every < 1) {
    std::fputs("usage: streaming_mamba WEIGHTS [BYTES BETWEEN REPORTS]\n", help ? stdout : stderr);
    return help ? 0 : 2;
  }
  try {
    const model m(argv[1]);
    if (m.config.grows()) {
      throw std::runtime_error("what this model remembers grows with the text");
    }
    follow(std::cin, m, every);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "streaming_mamba: %s\n", e.what());
    return 1;
  }
}
