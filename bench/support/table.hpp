// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace seqmix_bench {

/// Prints one line for each row: the median of its repetitions. The JSON file has them all.
class table_reporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  std::string title_;   // of the table that the last line belongs to
  std::string failed_;  // the last row that did
  int name_width_ = 0;
};

}  // namespace seqmix_bench
