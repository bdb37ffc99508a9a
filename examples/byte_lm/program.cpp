// SPDX-License-Identifier: Apache-2.0
#include "program.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

namespace fs = std::filesystem;

fs::path shipped(const char* name) {
#if defined(BYTE_LM_DATA_DIR)
  const fs::path source_dir = BYTE_LM_DATA_DIR;
#else
  const fs::path source_dir = "data";
#endif
  for (const fs::path& dir : {source_dir, fs::path("data"), fs::path("examples/byte_lm/data")}) {
    std::error_code ignored;
    if (fs::exists(dir / name, ignored)) {
      return dir / name;
    }
  }
  return source_dir / name;
}

std::string model_names() {
  std::string names;
  for (const char* name : shipped_models) {
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

fs::path weights_of(const std::string& model) {
  const bool known =
      std::find(shipped_models.begin(), shipped_models.end(), model) != shipped_models.end();
  return known ? shipped((model + ".safetensors").c_str()) : fs::path(model);
}

std::string read_text(const fs::path& path, std::size_t limit) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw std::runtime_error(path.string() + ": cannot be opened");
  }
  std::string text;
  std::array<char, 1 << 16> part;
  while (text.size() < limit && file) {
    file.read(part.data(),
              static_cast<std::streamsize>(std::min(part.size(), limit - text.size())));
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad() || (text.empty() && !file.eof())) {
    throw std::runtime_error(path.string() + ": cannot be read");
  }
  if (text.empty()) {
    throw std::runtime_error(path.string() + ": no text in it");
  }
  return text;
}

void put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) {
    throw std::runtime_error("cannot write to the standard output");
  }
}

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

progress_bar::progress_bar() : on_terminal_(isatty(STDERR_FILENO) != 0) {}

progress_bar::~progress_bar() {
  if (on_terminal_) {
    std::fputs("\r\033[K", stderr);
  }
}

void progress_bar::show(std::size_t done, std::size_t all) const {
  if (!on_terminal_) {
    return;
  }
  constexpr std::size_t width = 40;
  const std::size_t filled = width * done / all;
  const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
  std::fprintf(stderr, "\r[%s] %3zu %%", bar.c_str(), 100 * done / all);
  std::fflush(stderr);
}

attention_choice attention_on(const std::string& device) {
  if (device == "cpu") {
    return {};
  }
#if defined(BYTE_LM_CUDA)
  return {.half = true, .device = seqmix::device_policy::cuda};
#else
  throw std::runtime_error(
      "--device cuda: this program was built without it; build seqmix with "
      "SEQMIX_ENABLE_CUDA=ON");
#endif
}
