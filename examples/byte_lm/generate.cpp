// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <vector>

#include "model.hpp"
#include "predict.hpp"

void generate(const common_options& common, const generate_options& options) {
  const attention_choice attention = attention_on(common.device);
  const model m(weights_of(common.model));
  const std::size_t needed = options.prompt.size() + static_cast<std::size_t>(options.length);
  if (m.config.grows() && needed > static_cast<std::size_t>(m.config.context_length)) {
    throw std::runtime_error("a prompt of " + std::to_string(options.prompt.size()) +
                             " bytes and " + std::to_string(options.length) +
                             " more do not fit: the model was trained on texts of up to " +
                             std::to_string(m.config.context_length) + " bytes");
  }
  // BOS takes the place of the last byte, which nothing follows.
  thread_team team(common.threads);
  session s(m, static_cast<int>(needed), team, attention);
  sampler draw(options.temperature, options.seed);
  // A terminal shall not take what the model says as commands.
  const bool on_terminal = isatty(STDOUT_FILENO) != 0;

  put(options.prompt);
  const auto began = std::chrono::steady_clock::now();
  const std::vector<int> prompt = tokens_of(m.config, options.prompt);
  const auto prompt_logits = s.append(prompt);
  int next = draw(prompt_logits.row(prompt_logits.rows() - 1));
  const double prompt_seconds = seconds_since(began);
  for (int produced = 1;; ++produced) {
    const bool printable = next >= 32 ? next != 127 : next == '\n' || next == '\t';
    const char byte = printable || !on_terminal ? static_cast<char>(next) : '?';
    put({&byte, 1});
    if (produced == options.length) {
      break;
    }
    next = draw(s.append(std::span(&next, 1)).row(0));
  }
  const double seconds = seconds_since(began) - prompt_seconds;
  put("\n");

  std::fprintf(stderr, "prompt  %zu tokens in %.1f ms\n", prompt.size(), 1e3 * prompt_seconds);
  if (options.length > 1) {
    std::fprintf(stderr, "tokens per second  %.0f (threads: %d, peak memory %.1f MiB)\n",
                 (options.length - 1) / seconds, team.concurrency(), peak_megabytes());
  }
}
