// SPDX-License-Identifier: Apache-2.0
#include "stream.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <numbers>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "model.hpp"
#include "plot.hpp"
#include "predict.hpp"

namespace {

namespace fs = std::filesystem;

/// One way to follow the text: the bits of each byte, or of the sampled ones.
struct outcome {
  std::string name;
  std::vector<double> bits;
  std::size_t cache_bytes = 0;
  double tokens_per_second = 0;
};

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

/// Each byte predicted in one go from the start, `chunk` bytes at a time.
template <class Advance>
outcome follow(std::string name, const model& m, std::string_view text, std::size_t chunk,
               session s, const Advance& advance) {
  outcome result{.name = std::move(name), .bits = {}, .cache_bytes = s.cache_bytes()};
  const std::vector<int> tokens = tokens_of(m.config, text.substr(0, text.size() - 1));
  const auto began = std::chrono::steady_clock::now();
  for (std::size_t at = 0; at < tokens.size(); at += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - at);
    const auto logits = s.append(std::span(tokens).subspan(at, count));
    for (std::size_t i = 0; i < count; ++i) {
      const double nats = nats_of(logits.row(static_cast<Eigen::Index>(i)), text[at + i]);
      result.bits.push_back(nats / std::numbers::ln2);
    }
    advance(count);
  }
  result.tokens_per_second = static_cast<double>(tokens.size()) / seconds_since(began);
  return result;
}

/// Each sampled byte predicted by a fresh forward pass over BOS and the bytes before it, `context`
/// tokens in all.
template <class Advance>
outcome recompute(const model& m, std::string_view text, const std::vector<std::size_t>& sampled,
                  int context, thread_team& team, const Advance& advance) {
  std::vector<session> sessions(static_cast<std::size_t>(team.concurrency()), session(m, context));
  outcome result{.name = "recomputation",
                 .bits = std::vector<double>(sampled.size()),
                 .cache_bytes = sessions[0].cache_bytes()};
  const auto known = static_cast<std::size_t>(context - 1);  // bytes beside BOS
  const auto began = std::chrono::steady_clock::now();
  run_all(team, sampled.size(), [&](std::size_t i, std::size_t worker) {
    session& s = sessions[worker];
    s.clear();
    const auto logits = s.append(tokens_of(m.config, text.substr(sampled[i] - known, known)));
    result.bits[i] = nats_of(logits.row(logits.rows() - 1), text[sampled[i]]) / std::numbers::ln2;
    advance(known);
  });
  result.tokens_per_second = static_cast<double>(sampled.size()) / seconds_since(began);
  return result;
}

std::vector<double> chosen(const std::vector<double>& bits,
                           const std::vector<std::size_t>& sampled) {
  std::vector<double> result;
  for (const std::size_t i : sampled) {
    result.push_back(bits[i]);
  }
  return result;
}

/// The mean difference of pairs, and its standard error.
struct paired_difference {
  double mean, error;
  paired_difference(const std::vector<double>& x, const std::vector<double>& y) {
    std::vector<double> d(x.size());
    std::transform(x.begin(), x.end(), y.begin(), d.begin(), std::minus<>());
    mean = ::mean(d);
    double squares = 0;
    for (const double e : d) {
      squares += (e - mean) * (e - mean);
    }
    const auto n = static_cast<double>(d.size());
    error = d.size() > 1 ? std::sqrt(squares / (n - 1) / n) : 0;
  }
};

constexpr std::size_t plotted_span = 1024;

/// Bits per byte against position: means over the last 1024 bytes.
void write_means(const fs::path& path, const std::vector<outcome>& outcomes) {
  constexpr std::size_t span = plotted_span;
  std::ofstream file(path);
  file << "bytes";
  for (const outcome& o : outcomes) {
    file << '\t' << o.name;
  }
  const std::size_t bytes = outcomes[0].bits.size();
  for (std::size_t end = span; end <= bytes; end += span / 8) {
    file << '\n' << end;
    for (const outcome& o : outcomes) {
      const auto last = o.bits.begin() + static_cast<std::ptrdiff_t>(end);
      file << '\t'
           << std::accumulate(last - static_cast<std::ptrdiff_t>(span), last, 0.0) /
                  static_cast<double>(span);
    }
  }
  file << '\n';
  if (!file.flush()) {
    throw std::runtime_error(path.string() + ": cannot be written");
  }
}

}  // namespace

void stream(const common_options& common, const stream_options& options) {
  const model m(weights_of(common.model));
  if (!m.config.all_softmax() || !m.config.grows()) {
    throw std::runtime_error(
        "stream needs a model whose layers all remember everything: " + common.model + " is none");
  }
  if (options.context > m.config.context_length) {
    throw std::runtime_error("--context " + std::to_string(options.context) +
                             ": the model was trained on texts of up to " +
                             std::to_string(m.config.context_length) + " bytes");
  }
  if (options.sinks >= options.context) {
    throw std::runtime_error("--sinks " + std::to_string(options.sinks) +
                             ": leaves no window in a context of " +
                             std::to_string(options.context));
  }
  const std::string text = read_text(options.file, options.max_bytes);
  const auto context = static_cast<std::size_t>(options.context);
  const auto every = static_cast<std::size_t>(options.every);
  std::vector<std::size_t> sampled;  // bytes by which something was forgotten
  for (std::size_t i = every - 1; i < text.size(); i += every) {
    if (i >= context) {
      sampled.push_back(i);
    }
  }
  if (sampled.empty()) {
    throw std::runtime_error(options.file.string() + ": " + std::to_string(text.size()) +
                             " bytes are too few for --context " + std::to_string(options.context) +
                             " and --every " + std::to_string(options.every));
  }
  if (!options.plot.empty() && text.size() < plotted_span) {
    throw std::runtime_error("--plot: draws means of " + std::to_string(plotted_span) +
                             " bytes, and there are " + std::to_string(text.size()));
  }
  check_plot(options.plot);

  thread_team team(common.threads);
  const auto chunk = static_cast<std::size_t>(options.chunk);
  std::optional<progress_bar> progress(std::in_place);
  std::atomic<std::size_t> done = 0;
  const std::size_t work = 3 * text.size() + sampled.size() * context;
  const auto advance = [&](std::size_t tokens) {
    done += tokens;
    progress->show(done, work);
  };
  const auto follow_with = [&](const char* name, const attention_choice& attention) {
    return follow(name, m, text, chunk, session(m, static_cast<int>(text.size()), team, attention),
                  advance);
  };
  std::vector<outcome> outcomes;
  outcomes.push_back(follow_with("full cache", {}));
  outcomes.push_back(follow_with("window", {.window = options.context}));
  outcomes.push_back(follow_with(
      "sinks + window", {.sinks = options.sinks, .window = options.context - options.sinks}));
  const outcome reference = recompute(m, text, sampled, options.context, team, advance);
  progress.reset();

  std::printf("%s: %zu bytes, %.1f times the context of %d tokens (%d sinks)\n",
              options.file.string().c_str(), text.size(),
              static_cast<double>(text.size()) / static_cast<double>(context), options.context,
              options.sinks);
  std::printf("recomputed at %zu bytes past the context, every %zuth; threads: %d\n\n",
              sampled.size(), every, team.concurrency());
  std::printf(
      "                bits per byte  recomputed  difference to         cache  tokens per\n"
      "                      of all    bytes only  recomputation           MiB     second\n");
  const auto mebibytes = [](std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  for (const outcome& o : outcomes) {
    const std::vector<double> same = chosen(o.bits, sampled);
    const paired_difference d(same, reference.bits);
    std::printf("%-15s %12.6f  %10.6f  %+9.6f +- %.6f  %7.1f  %10.0f\n", o.name.c_str(),
                mean(o.bits), mean(same), d.mean, d.error, mebibytes(o.cache_bytes),
                o.tokens_per_second);
  }
  std::printf("%-15s %12s  %10.6f  %21s  %7.1f  %10.0f\n", reference.name.c_str(), "",
              mean(reference.bits), "", mebibytes(reference.cache_bytes),
              reference.tokens_per_second);

  if (!options.plot.empty()) {
    write_means(data_beside(options.plot), outcomes);
    draw("stream.gnuplot", options.plot);
  }
  if (options.accept != 0) {
    const paired_difference d(chosen(outcomes.back().bits, sampled), reference.bits);
    if (!(std::abs(d.mean) <= options.accept)) {
      throw std::runtime_error("sinks and window are off: " + std::to_string(d.mean) +
                               " bits per byte from recomputation, accepted are " +
                               std::to_string(options.accept));
    }
    std::printf("\naccepted: within %g of recomputation\n", options.accept);
  }
}
