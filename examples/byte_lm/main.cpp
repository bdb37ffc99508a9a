// SPDX-License-Identifier: Apache-2.0
// Byte-level language models on seqmix: the program's options.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "compare.hpp"
#include "generate.hpp"
#include "program.hpp"
#include "score.hpp"
#include "stream.hpp"

namespace {

constexpr int failed = 1;
constexpr int bad_usage = 2;

/// What CLI11's ranges let pass: NaN.
std::string refuse_nan(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? "not a number: " + text : "";
}

}  // namespace

int main(int argc, char** argv) {
  common_options common;
  score_options scoring;
  generate_options generation;
  stream_options streaming;
  compare_options comparison;

  CLI::App app{"Byte-level language models on seqmix."};
  app.require_subcommand(1);
  const auto add_model = [&](CLI::App& command) {
    command
        .add_option("--model,--weights", common.model, "One of " + model_names() + ", or a file")
        ->capture_default_str();
  };
  const auto add_threads = [&](CLI::App& command) {
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
  add_model(score_command);
  add_threads(score_command);
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
  add_model(generate_command);
  add_threads(generate_command);
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
  add_model(stream_command);
  add_threads(stream_command);

  CLI::App& compare_command =
      *app.add_subcommand("compare", "Quality, speed and memory of models against context length");
  compare_command.add_option("FILE", comparison.file, "Text to score")->capture_default_str();
  compare_command.add_option("--models", comparison.models, "Models to compare: names or files")
      ->delimiter(',')
      ->capture_default_str();
  compare_command.add_option("--lengths", comparison.lengths, "Context lengths")
      ->delimiter(',')
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  compare_command
      .add_option("--max-cached", comparison.max_cached,
                  "Longest context for models whose memory grows with it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  compare_command
      .add_option("--max-bytes", comparison.max_bytes, "Score only the file's first bytes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  compare_command.add_option("--decode", comparison.decode, "Single tokens to time at each length")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  compare_command.add_option("--plot", comparison.plot,
                             "Draw an SVG with gnuplot; its data lie beside it, as .tsv");
  add_threads(compare_command);

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
    } else if (stream_command.parsed()) {
      stream(common, streaming);
    } else {
      compare(common, comparison);
    }
    put("");  // whatever was printed has arrived
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "byte_lm: %s\n", e.what());
    return failed;
  }
}
