// SPDX-License-Identifier: Apache-2.0
#include "score.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "model.hpp"
#include "predict.hpp"

void score(const common_options& common, const score_options& options) {
  const attention_choice attention = attention_on(common.device);
  const model m(weights_of(common.model));
  if (options.window > m.config.context_length) {
    throw std::runtime_error("--window " + std::to_string(options.window) +
                             ": the model was trained on windows of up to " +
                             std::to_string(m.config.context_length) + " bytes");
  }
  const std::string text =
      read_text(options.file, options.max_bytes == 0 ? std::string::npos : options.max_bytes);
  const auto window = static_cast<std::size_t>(options.window);
  const std::size_t windows = (text.size() + window - 1) / window;

  // Windows are independent: each worker takes one after another through a session of its own.
  thread_team team(static_cast<int>(std::min(windows, static_cast<std::size_t>(common.threads))));
  std::vector<session> sessions(
      static_cast<std::size_t>(team.concurrency()),
      session(m, static_cast<int>(std::min(window, text.size())), {}, attention));
  std::vector<double> window_bits(windows);
  std::atomic<std::size_t> done = 0;
  std::optional<progress_bar> progress(std::in_place);
  const auto began = std::chrono::steady_clock::now();
  run_all(team, windows, [&](std::size_t i, std::size_t worker) {
    if (worker == 0) {
      progress->show(done, windows);
    }
    window_bits[i] =
        bits_of(m.config, sessions[worker], std::string_view(text).substr(i * window, window));
    ++done;
  });
  const double seconds = seconds_since(began);
  progress.reset();

  double bits = 0;
  double seqmix_seconds = 0;
  for (const double b : window_bits) {
    bits += b;
  }
  for (const session& s : sessions) {
    seqmix_seconds += s.seqmix_seconds();
  }
  const auto bytes = static_cast<double>(text.size());
  const double bits_per_byte = bits / bytes;
  std::printf("%s: %zu bytes in %zu windows of %zu\n", options.file.string().c_str(), text.size(),
              windows, window);
  std::printf("bits per byte      %.6f\n", bits_per_byte);
  std::printf("tokens per second  %.0f (%.2f s, threads: %d, %.0f %% of it in seqmix)\n",
              bytes / seconds, seconds, team.concurrency(),
              100 * seqmix_seconds / (seconds * team.concurrency()));
  std::printf("peak memory        %.1f MiB\n", peak_megabytes());
  if (options.expect != 0) {
    if (!(std::abs(bits_per_byte - options.expect) <= options.tolerance)) {
      throw std::runtime_error("the score is off: " + std::to_string(bits_per_byte) +
                               " bits per byte, expected " + std::to_string(options.expect) +
                               " within " + std::to_string(options.tolerance));
    }
    std::printf("as expected        %.6f within %g\n", options.expect, options.tolerance);
  }
}
