// SPDX-License-Identifier: Apache-2.0
#include "support/table.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

namespace seqmix_bench {

namespace {

// Google Benchmark 1.8 renamed the members.
template <class Run>
const char* error_of(const Run& run) {
  if constexpr (requires { run.error_occurred; }) {
    return run.error_occurred ? run.error_message.c_str() : nullptr;
  } else {
    return run.skipped == decltype(run.skipped){} ? nullptr : run.skip_message.c_str();
  }
}

double counter(const benchmark::BenchmarkReporter::Run& run, const char* key) {
  const auto found = run.counters.find(key);
  return found == run.counters.end() ? std::numeric_limits<double>::quiet_NaN()
                                     : found->second.value;
}

void print_cell(const char* format, double value) {
  if (std::isnan(value)) {
    std::printf("%10s", "");
  } else {
    std::printf(format, value);
  }
}

}  // namespace

bool table_reporter::ReportContext(const Context& context) {
  const int ending = static_cast<int>(std::strlen("/real_time"));  // not printed
  name_width_ = static_cast<int>(context.name_field_width) - ending;
  return true;
}

void table_reporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    const std::string& name = run.run_name.function_name;
    if (const char* fault = error_of(run)) {
      if (name != failed_) {  // every repetition says it
        std::printf("%-*s ERROR %s\n", name_width_, name.c_str(), fault);
        failed_ = name;
      }
      continue;
    }
    const bool only_one = run.run_type == Run::RT_Iteration && run.repetitions == 1;
    if (!only_one && run.aggregate_name != "median") {
      continue;
    }
    const std::string memory = run.counters.count("of_copy") != 0 ? "copy" : "read";
    if (memory != title_) {
      title_ = memory;
      std::printf("\n%-*s%12s%10s%10s%10s%10s%10s  %s\n", name_width_, "row", "us", "GFLOP/s",
                  "GB/s", "of FMA", ("of " + memory).c_str(), "spread", "algorithm");
    }
    std::printf("%-*s%12.1f", name_width_, name.c_str(), run.GetAdjustedRealTime());
    print_cell("%10.1f", counter(run, "GFLOP/s"));
    print_cell("%10.2f", counter(run, "GB/s"));
    print_cell("%10.3f", counter(run, "of_fma"));
    print_cell("%10.3f", counter(run, ("of_" + memory).c_str()));
    print_cell("%10.3f",
               std::fmax(counter(run, "fma_spread"), counter(run, (memory + "_spread").c_str())));
    std::printf("  %s\n", run.report_label.c_str());
  }
  std::fflush(stdout);
}

}  // namespace seqmix_bench
