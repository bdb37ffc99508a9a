// SPDX-License-Identifier: Apache-2.0
// What the program's commands share: threads, files, reports.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <seqmix/core/executor.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "attention.hpp"

#if defined(BYTE_LM_OPENMP)
#include <seqmix/openmp.hpp>
#endif

// ---- threads ----

#if defined(BYTE_LM_OPENMP)
using thread_team = seqmix::openmp_executor;
inline int default_threads() { return omp_get_max_threads(); }
constexpr int most_threads = 1024;
#else
struct thread_team : seqmix::inline_executor {
  explicit thread_team(int /*threads*/) {}
};
inline int default_threads() { return 1; }
constexpr int most_threads = 1;  // built without OpenMP
#endif

/// Calls f(index, worker) for each index below n. What one of the calls throws is thrown at the
/// end.
template <class F>
void run_all(thread_team& team, std::size_t n, const F& f) {
  std::vector<std::string> problems(n);
  auto task = [&](std::int64_t index, int worker) {
    try {
      f(static_cast<std::size_t>(index), static_cast<std::size_t>(worker));
    } catch (const std::exception& e) {
      problems[static_cast<std::size_t>(index)] = e.what();
    }
  };
  team.run(static_cast<std::int64_t>(n), task);
  for (const std::string& problem : problems) {
    if (!problem.empty()) {
      throw std::runtime_error(problem);
    }
  }
}

// ---- files ----

/// A file that ships with this example, wherever the program is called from.
std::filesystem::path shipped(const char* name);

/// The models that ship with this example.
constexpr std::array<const char*, 8> shipped_models{
    "byte_lm", "softmax_small", "gla", "gated_delta_net", "kda", "hybrid", "mamba", "mamba2"};
std::string model_names();

/// The weights of a shipped model, by its name, or those in any other file.
std::filesystem::path weights_of(const std::string& model);

/// The file's first `limit` bytes.
std::string read_text(const std::filesystem::path& path, std::size_t limit);

// ---- reports ----

void put(std::string_view text);
double seconds_since(std::chrono::steady_clock::time_point began);
double peak_megabytes();

/// A bar on stderr, if that is a terminal.
class progress_bar {
 public:
  progress_bar();
  ~progress_bar();
  void show(std::size_t done, std::size_t all) const;

 private:
  bool on_terminal_;
};

// ---- options ----

/// Where attention runs, by the option's name; on a GPU in f16.
attention_choice attention_on(const std::string& device);

struct common_options {
  std::string model = shipped_models[0];
  int threads = default_threads();
  std::string device = "cpu";
};
