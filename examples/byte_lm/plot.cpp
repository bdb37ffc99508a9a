// SPDX-License-Identifier: Apache-2.0
#include "plot.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "program.hpp"

namespace fs = std::filesystem;

void check_plot(const fs::path& picture) {
  if (picture.extension() == ".tsv") {
    throw std::runtime_error("--plot " + picture.string() + ": .tsv is for the data beside it");
  }
}

fs::path data_beside(const fs::path& picture) {
  return fs::path(picture).replace_extension(".tsv");
}

void draw(const char* script, const fs::path& picture) {
  const fs::path data = data_beside(picture);
  std::array<std::string, 5> words{"gnuplot", "-c", shipped(script).string(), data.string(),
                                   picture.string()};
  std::array<char*, 6> arguments{};
  std::transform(words.begin(), words.end(), arguments.begin(),
                 [](std::string& word) { return word.data(); });
  pid_t process = 0;
  const int problem =
      posix_spawnp(&process, "gnuplot", nullptr, nullptr, arguments.data(), environ);
  if (problem != 0) {
    throw std::runtime_error("gnuplot cannot be started (" + std::string(std::strerror(problem)) +
                             "); what it was to draw is in " + data.string());
  }
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw std::runtime_error("gnuplot failed; what it was to draw is in " + data.string());
  }
}
