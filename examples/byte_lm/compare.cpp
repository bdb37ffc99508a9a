// SPDX-License-Identifier: Apache-2.0
#include "compare.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>

#include "model.hpp"
#include "plot.hpp"
#include "predict.hpp"

namespace {

namespace fs = std::filesystem;

struct contender {
  std::string name;
  model weights;
};

/// One model at one context length.
struct measurement {
  const contender* of = nullptr;
  std::size_t length = 0;
  double bits_per_byte = 0;
  double tokens_per_second = 0;
  std::size_t state_bytes = 0;
};

/// Bits per byte of a text in windows of `length`, each on its own.
template <class Advance>
double bits_in_windows(const model& m, std::string_view text, std::size_t length, int threads,
                       const Advance& advance) {
  const std::size_t windows = (text.size() + length - 1) / length;
  thread_team team(static_cast<int>(std::min(windows, static_cast<std::size_t>(threads))));
  std::vector<session> sessions(static_cast<std::size_t>(team.concurrency()),
                                session(m, static_cast<int>(length)));
  std::vector<double> bits(windows);
  run_all(team, windows, [&](std::size_t i, std::size_t worker) {
    const std::string_view window = text.substr(i * length, length);
    bits[i] = bits_of(m.config, sessions[worker], window);
    advance(window.size(), worker == 0);
  });
  return std::accumulate(bits.begin(), bits.end(), 0.0) / static_cast<double>(text.size());
}

/// Times single tokens behind a context of `length`, on this thread.
void measure_decoding(const model& m, std::string_view text, std::size_t length, int tokens,
                      measurement& result) {
  session s(m, static_cast<int>(length) + tokens);
  bits_of(m.config, s, text.substr(0, length));
  std::vector<double> seconds;
  for (int i = 0; i < tokens; ++i) {
    const auto byte = static_cast<std::size_t>(i) + length - 1;
    const int token = static_cast<unsigned char>(text[byte % text.size()]);
    const auto began = std::chrono::steady_clock::now();
    s.append(std::span(&token, 1));
    seconds.push_back(seconds_since(began));
  }
  const auto middle = seconds.begin() + tokens / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  result.tokens_per_second = 1 / *middle;

  // Without the room for what was decoded.
  const session context(m, static_cast<int>(length));
  result.state_bytes = context.cache_bytes();
}

void write_table(const fs::path& path, const std::vector<measurement>& measurements) {
  std::ofstream file(path);
  file << "model\tcontext\tbits per byte\tdecoded tokens per second\tstate bytes\n";
  for (const measurement& x : measurements) {
    file << x.of->name << '\t' << x.length << '\t' << x.bits_per_byte << '\t' << x.tokens_per_second
         << '\t' << x.state_bytes << '\n';
  }
  if (!file.flush()) {
    throw std::runtime_error(path.string() + ": cannot be written");
  }
}

std::vector<measurement> plan(const std::vector<contender>& contenders,
                              const std::vector<int>& lengths, int max_cached) {
  std::vector<measurement> result;
  for (const contender& c : contenders) {
    for (const int length : lengths) {
      if (length <= max_cached || !c.weights.config.grows()) {
        result.push_back({.of = &c, .length = static_cast<std::size_t>(length)});
      }
    }
  }
  return result;
}

}  // namespace

void compare(const common_options& common, const compare_options& options) {
  check_plot(options.plot);
  const std::string text = read_text(options.file, options.max_bytes);
  const int longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  if (text.size() < static_cast<std::size_t>(longest)) {
    throw std::runtime_error("--lengths " + std::to_string(longest) + ": " + options.file.string() +
                             " gives " + std::to_string(text.size()) + " bytes (--max-bytes " +
                             std::to_string(options.max_bytes) + ")");
  }
  std::vector<contender> contenders;
  for (const std::string& name : options.models) {
    contenders.push_back({fs::path(name).stem().string(), model(weights_of(name))});
  }
  std::vector<measurement> measurements = plan(contenders, options.lengths, options.max_cached);

  std::optional<progress_bar> progress(std::in_place);
  std::atomic<std::size_t> done = 0;
  std::size_t work = 0;
  for (const measurement& x : measurements) {
    work += text.size() + x.length;
  }
  const auto advance = [&](std::size_t tokens, bool show) {
    done += tokens;
    if (show) {
      progress->show(done, work);
    }
  };
  for (measurement& x : measurements) {
    const model& m = x.of->weights;
    x.bits_per_byte = bits_in_windows(m, text, x.length, common.threads, advance);
    measure_decoding(m, text, x.length, options.decode, x);
    advance(x.length, true);
  }
  progress.reset();

  std::printf("%s: %zu bytes, in windows of each context length; threads: %d\n",
              options.file.string().c_str(), text.size(), common.threads);
  std::printf("decoding: the median of %d single tokens behind such a context, one thread\n",
              options.decode);
  std::printf("models whose memory grows are left out beyond %d tokens\n\n", options.max_cached);
  std::printf("%-16s %8s  %13s  %17s  %10s\n%-16s %8s  %13s  %17s  %10s\n", "", "context",
              "bits per byte", "decoded tokens", "state", "", "", "", "per second", "KiB");
  for (const measurement& x : measurements) {
    std::printf("%-16s %8zu  %13.6f  %17.0f  %10.1f\n", x.of->name.c_str(), x.length,
                x.bits_per_byte, x.tokens_per_second, static_cast<double>(x.state_bytes) / 1024);
  }
  if (!options.plot.empty()) {
    write_table(data_beside(options.plot), measurements);
    draw("compare.gnuplot", options.plot);
  }
}
