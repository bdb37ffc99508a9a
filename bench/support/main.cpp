// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <seqmix/core/version.hpp>
#include <seqmix/simd/arch.hpp>
#include <string_view>
#include <system_error>
#include <vector>

#include "seqmix_bench_build.hpp"
#include "support/bench.hpp"
#include "support/probes.hpp"
#include "support/table.hpp"

namespace seqmix_bench {

namespace {

constexpr char usage[] = R"(usage: %s [--smoke] [--threads=LIST] [Google Benchmark's options]

Times one operator of seqmix against ceilings that are measured in the same process, right before
and right after each run: fused multiply-adds on registers, and reading (or copying) memory that
no cache holds. A row whose result differs from the oracle's prints an error and no speed, and the
program ends with 1.

  --smoke           a few tiny rows, once each, in seconds; the speeds mean nothing
  --threads=LIST    numbers of threads, for instance 1,4,all; without it 1,all
  --help            this text

Of Google Benchmark's options these are the useful ones:
  --benchmark_filter=REGEX            only the rows whose names match
  --benchmark_list_tests              print the names of the rows
  --benchmark_out=FILE                also write JSON, for report/report.py
  --benchmark_min_time=SECONDS        of each repetition (here 0.2)
  --benchmark_repetitions=N           the table shows their median (here 5)
  --benchmark_format=console|json|csv Google Benchmark's own output in place of the table

See bench/README.md for what the columns mean.
)";

/// "1,4,all" as numbers without repeats; nothing when it is not such a list.
std::optional<std::vector<int>> parse_threads(std::string_view list) {
  std::vector<int> threads;
  while (true) {
    const std::string_view item = list.substr(0, list.find(','));
    int n = 0;
    const auto end = std::from_chars(item.data(), item.data() + item.size(), n);
    if (item == "all") {
      n = all_threads();
    } else if (end.ec != std::errc{} || end.ptr != item.data() + item.size() || n < 1 || n > 4096) {
      return std::nullopt;
    }
    if (std::find(threads.begin(), threads.end(), n) == threads.end()) {
      threads.push_back(n);
    }
    if (item.size() == list.size()) {
      return threads;
    }
    list.remove_prefix(item.size() + 1);
  }
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(':');
      return colon + 2 < line.size() ? line.substr(colon + 2) : "unknown";
    }
  }
  return "unknown";
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

/// An argument as it is typed in a shell; of an output file the name alone.
std::string shown(std::string_view argument) {
  constexpr std::string_view out = "--benchmark_out=";
  if (argument.starts_with(out)) {
    return std::string(out).append(file_name(argument.substr(out.size())));
  }
  std::string quoted(argument);
  if (quoted.find_first_of(" *?|&;()<>[]$'\"\\#~") != std::string::npos) {
    quoted.insert(quoted.begin(), '\'');
    quoted.push_back('\'');
  }
  return quoted;
}

}  // namespace

int run(int argc, char** argv) {
  settings s;
  s.threads = *parse_threads("1,all");
  std::string command(file_name(argv[0]));
  bool table = true;
  std::vector<std::string> arguments{argv[0]};
  // The last of equal options holds: the user's come behind these.
  arguments.insert(arguments.end(),
                   {"--benchmark_min_time=0.2" SEQMIX_BENCH_SECONDS, "--benchmark_repetitions=5"});
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    command.append(" ").append(shown(argument));
    if (argument == "--help" || argument == "-h") {
      std::printf(usage, command.substr(0, command.find(' ')).c_str());
      return 0;
    }
    if (argument == "--smoke") {
      s.smoke = true;
      use_short_probes();
      arguments.insert(arguments.end(), {"--benchmark_min_time=0.001" SEQMIX_BENCH_SECONDS,
                                         "--benchmark_repetitions=1"});
    } else if (argument.starts_with("--threads=")) {
      const auto threads = parse_threads(argument.substr(argument.find('=') + 1));
      if (!threads) {
        std::fprintf(stderr, "%s: expected numbers of threads from 1 to 4096, or all\n", argv[i]);
        return 2;
      }
      s.threads = *threads;
    } else {
      table = table && !argument.starts_with("--benchmark_format");
      arguments.emplace_back(argument);
    }
  }
#if !defined(_OPENMP)
  if (s.threads != std::vector<int>{1}) {
    std::fprintf(stderr, "built without OpenMP: only one thread\n");
    return 2;
  }
#endif

  std::vector<char*> pointers;
  for (std::string& argument : arguments) {
    pointers.push_back(argument.data());
  }
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) {
    return 2;
  }
  const std::pair<const char*, std::string> facts[] = {
      {"seqmix", SEQMIX_VERSION_STRING " " SEQMIX_BENCH_COMMIT},
      {"command", command},
      {"cpu", cpu_model()},
      {"isa", seqmix::simd::isa_name<seqmix::simd::default_arch>()},
      {"compiler", SEQMIX_BENCH_COMPILER},
      {"flags", SEQMIX_BENCH_FLAGS},
      {"all_threads", std::to_string(all_threads())},
  };
  for (const auto& [key, value] : facts) {
    benchmark::AddCustomContext(key, value);
    if (table) {
      std::printf("%s: %s\n", key, value.c_str());
    }
  }

  register_rows(s);
  table_reporter reporter;
  benchmark::RunSpecifiedBenchmarks(table ? &reporter : nullptr);
  benchmark::Shutdown();
  return failed_rows() == 0 ? 0 : 1;
}

}  // namespace seqmix_bench

int main(int argc, char** argv) { return seqmix_bench::run(argc, argv); }
