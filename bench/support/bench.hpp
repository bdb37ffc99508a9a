// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <seqmix/core/executor.hpp>
#include <seqmix/core/scalar.hpp>
#include <string>
#include <utility>
#include <vector>

#if defined(_OPENMP)
#include <seqmix/openmp.hpp>
#endif

namespace seqmix_bench {

/// What the command line asked for.
struct settings {
  bool smoke = false;        ///< a few tiny rows: does it run and compute the right thing?
  std::vector<int> threads;  ///< every row is registered once for each
};

/// Registers the rows of one program. Each bench_<operator>.cpp defines it.
void register_rows(const settings& s);

#if defined(_OPENMP)
using team = seqmix::openmp_executor;
#else
struct team : seqmix::inline_executor {
  explicit team(int) noexcept {}
};
#endif

/// The threads that a team may have: one without OpenMP.
int all_threads();

/// What one call does, in the conventions of bench/README.md.
struct work {
  double flops = 0;                                        ///< 0: the row is about bytes only
  double bytes = 0;                                        ///< every input once, every output once
  seqmix::scalar_type compute = seqmix::scalar_type::f32;  ///< what the FMA probe multiplies
  bool writes_much = false;  ///< compared with the copy probe, else with the read probe
};

/// One ceiling of this machine, measured on both sides of a run.
struct ceiling {
  double before = 0;
  double after = 0;

  double mean() const { return (before + after) / 2; }
  double spread() const { return (before > after ? before - after : after - before) / mean(); }
};

struct ceilings {
  ceiling fma;     // FLOP/s
  ceiling memory;  // bytes/s
};

/// Probes the ceilings that `w` is compared with, into one side of `c`.
void probe(const work& w, seqmix::executor_ref executor, ceilings& c, double ceiling::* side);

/// Adds the counters of a finished run whose iterations took `seconds` each.
void count(benchmark::State& state, const work& w, const ceilings& c, double seconds);

double now();

/// Times `call(i)`, i = 0, 1, 2, ..., with probes right before and after, in the same process.
template <class Call>
void measure(benchmark::State& state, const work& w, seqmix::executor_ref executor, Call call) {
  ceilings c;
  probe(w, executor, c, &ceiling::before);
  std::int64_t i = 0;
  const double start = now();
  for ([[maybe_unused]] auto iteration : state) {
    call(i++);
    benchmark::ClobberMemory();
  }
  const double seconds = (now() - start) / static_cast<double>(i);
  probe(w, executor, c, &ceiling::after);
  count(state, w, c, seconds);
}

/// The correctness gate. Runs `check`, which returns what is wrong or nothing, once for each row;
/// false, and an error in place of a speed, when the row is wrong.
template <class Check>
bool passes_gate(benchmark::State& state, const std::string& row, Check check);

/// The verdict about a row, empty before the first; and the number of rows that failed so far.
std::pair<bool, std::string>& verdict(const std::string& row);
int& failed_rows();

template <class Check>
bool passes_gate(benchmark::State& state, const std::string& row, Check check) {
  auto& [known, fault] = verdict(row);
  if (!known) {
    fault = check();
    known = true;
    failed_rows() += fault.empty() ? 0 : 1;
  }
  if (!fault.empty()) {
    state.SkipWithError(("wrong result: " + fault).c_str());
  }
  return fault.empty();
}

/// Registers `run(state, row)` for each number of threads, as "<name>/threads:<n>".
template <class Run>
void add_row(const settings& s, const std::string& name, Run run) {
  for (const int threads : s.threads) {
    const std::string row = name + "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(row.c_str(),
                                 [=](benchmark::State& state) { run(state, row, threads); })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace seqmix_bench
