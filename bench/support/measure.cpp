// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <map>

#include "support/bench.hpp"
#include "support/probes.hpp"

namespace seqmix_bench {

int all_threads() {
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void probe(const work& w, seqmix::executor_ref executor, ceilings& c, double ceiling::* side) {
  if (w.flops > 0) {
    c.fma.*side = fma_rate(executor, w.compute);
  }
  c.memory.*side = w.writes_much ? copy_rate(executor) : read_rate(executor);
}

void count(benchmark::State& state, const work& w, const ceilings& c, double seconds) {
  const std::string memory = w.writes_much ? "copy" : "read";
  if (w.flops > 0) {
    state.counters["GFLOP/s"] = w.flops / seconds / 1e9;
    state.counters["of_fma"] = w.flops / seconds / c.fma.mean();
    state.counters["fma_GFLOP/s"] = c.fma.mean() / 1e9;
    state.counters["fma_spread"] = c.fma.spread();
  }
  state.counters["GB/s"] = w.bytes / seconds / 1e9;
  state.counters["of_" + memory] = w.bytes / seconds / c.memory.mean();
  state.counters[memory + "_GB/s"] = c.memory.mean() / 1e9;
  state.counters[memory + "_spread"] = c.memory.spread();
}

std::pair<bool, std::string>& verdict(const std::string& row) {
  static std::map<std::string, std::pair<bool, std::string>> verdicts;
  return verdicts[row];
}

int& failed_rows() {
  static int count_of_failed = 0;
  return count_of_failed;
}

}  // namespace seqmix_bench
