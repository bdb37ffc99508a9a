// SPDX-License-Identifier: Apache-2.0
// A byte-level language model on seqmix: scores a text, writes one, or follows one without end.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "model.hpp"
#include "predict.hpp"
#include "program.hpp"
#include "stream.hpp"

namespace {

namespace fs = std::filesystem;

constexpr int failed = 1;
constexpr int bad_usage = 2;

/// What CLI11's ranges let pass: NaN.
std::string refuse_nan(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? "not a number: " + text : "";
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

struct score_options {
  fs::path file = shipped("heldout.txt");
  int window = 1024;
  std::size_t max_bytes = 0;  // 0: all
  double expect = 0;          // 0: anything
  double tolerance = 0.001;
};

void score(const common_options& common, const score_options& options) {
  const attention_choice attention = attention_on(common.device);
  const model m(common.weights);
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

struct generate_options {
  std::string prompt;
  int length = 200;
  double temperature = 0.8;
  std::uint64_t seed = 0;
};

void generate(const common_options& common, const generate_options& options) {
  const attention_choice attention = attention_on(common.device);
  const model m(common.weights);
  const std::size_t needed = options.prompt.size() + static_cast<std::size_t>(options.length);
  if (needed > static_cast<std::size_t>(m.config.context_length)) {
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

}  // namespace

int main(int argc, char** argv) {
  common_options common;
  score_options scoring;
  generate_options generation;
  stream_options streaming;

  CLI::App app{"A byte-level language model on seqmix."};
  app.require_subcommand(1);
  const auto add_common = [&](CLI::App& command) {
    command.add_option("--weights", common.weights, "Weights to use")->capture_default_str();
    command.add_option("--threads", common.threads, "Threads to use")
        ->check(CLI::Range(1, most_threads))
        ->capture_default_str();
  };
  const auto add_device = [&](CLI::App& command) {
    command.add_option("--device", common.device, "Where attention runs; on cuda in f16")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
  };

  CLI::App& score_command = *app.add_subcommand("score", "Bits per byte that a text takes");
  score_command.add_option("FILE", scoring.file, "Text to score")->capture_default_str();
  score_command.add_option("--window", scoring.window, "Bytes that are predicted as one text")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  score_command.add_option("--max-bytes", scoring.max_bytes, "Score only the file's first bytes")
      ->check(CLI::PositiveNumber);
  CLI::Option* expect =
      score_command.add_option("--expect", scoring.expect, "Fail unless the score is this one")
          ->check(CLI::PositiveNumber)
          ->check(refuse_nan);
  score_command.add_option("--tolerance", scoring.tolerance, "How far off it may be")
      ->check(CLI::NonNegativeNumber)
      ->check(refuse_nan)
      ->needs(expect)
      ->capture_default_str();
  add_common(score_command);
  add_device(score_command);

  CLI::App& generate_command = *app.add_subcommand("generate", "Continue a text");
  generate_command.add_option("--prompt", generation.prompt, "Text to continue")->required();
  generate_command.add_option("--length", generation.length, "Bytes to generate")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  generate_command
      .add_option("--temperature", generation.temperature, "0 takes the likeliest byte each time")
      ->check(CLI::Range(0.0, 1000.0))
      ->check(refuse_nan)
      ->capture_default_str();
  generate_command.add_option("--seed", generation.seed, "Another seed gives another text")
      ->capture_default_str();
  add_common(generate_command);
  add_device(generate_command);

  CLI::App& stream_command =
      *app.add_subcommand("stream", "Follow a text past the context, in constant memory");
  stream_command.add_option("FILE", streaming.file, "Text to follow")->capture_default_str();
  stream_command.add_option("--max-bytes", streaming.max_bytes, "Follow only its first bytes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  stream_command
      .add_option("--context", streaming.context, "Tokens that are attended to, sinks among them")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  stream_command.add_option("--sinks", streaming.sinks, "First tokens that are never forgotten")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  stream_command.add_option("--chunk", streaming.chunk, "Bytes that are taken in at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  stream_command.add_option("--every", streaming.every, "Recompute at every so many-th byte")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  stream_command
      .add_option("--accept", streaming.accept,
                  "Fail unless sinks and window come as close to recomputation, in bits per byte")
      ->check(CLI::PositiveNumber)
      ->check(refuse_nan);
  stream_command.add_option("--plot", streaming.plot,
                            "Draw an SVG with gnuplot; its data lie beside it, as .tsv");
  add_common(stream_command);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : bad_usage;
  }
  try {
    if (score_command.parsed()) {
      score(common, scoring);
    } else if (generate_command.parsed()) {
      generate(common, generation);
    } else {
      stream(common, streaming);
    }
    put("");  // whatever was printed has arrived
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "byte_lm: %s\n", e.what());
    return failed;
  }
}
