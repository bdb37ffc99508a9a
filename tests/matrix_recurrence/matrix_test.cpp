// SPDX-License-Identifier: Apache-2.0
// Every operator with a matrix state against its own oracle: sizes, forms, layouts, types, states.
#include <cstdio>
#include <iterator>

#include "support/catch.hpp"
#include "support/pairwise.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;

namespace {

constexpr std::int64_t lengths[] = {0, 1, 2, 3, 16, 31, 32, 33, 64, 75, 200};
constexpr std::int64_t dims[] = {1, 8, 16, 60, 64, 100, 128, 320};
constexpr std::int64_t heads[][2] = {{1, 1}, {3, 3}, {1, 4}, {2, 6}};
constexpr layout inputs[] = {layout::dense,      layout::padded,   layout::strided,
                             layout::head_first, layout::reversed, layout::misaligned,
                             layout::broadcast};
constexpr layout outputs[] = {layout::dense,      layout::padded,   layout::strided,
                              layout::head_first, layout::reversed, layout::misaligned};
constexpr double gates[] = {-0.001, -0.5, -5, -80};

struct sweep {
  recurrence_calls calls;
  std::int64_t cases = 0;
  double worst = 0;

  void check(recurrence_case c, int threads, bool workspace) {
    c.type = c.output = calls.type;
    recurrence_problem p(c);
    const recurrence_problem expected = oracle_of(calls, p);
    pool_executor pool(threads, c.seed % 3);
    seqmix::context ctx{.executor = pool};
    std::string scratch_text;
    if (workspace) {
      guarded_workspace scratch(calls.workspace_bytes(p, ctx), c.seed % 2 == 0 ? 4 : 0);
      ctx.workspace = scratch.span();
      calls.run(p, ctx);
      scratch_text = scratch.guards_untouched() ? "" : "memory outside the workspace; ";
    } else {
      calls.run(p, ctx);
    }
    ++cases;
    tolerance of_output = tolerance_of(calls.type);
    const scalar_type compute =
        calls.type == scalar_type::f64 ? scalar_type::f64 : scalar_type::f32;
    const tolerance of_state = tolerance_of(scalar_type::f32);
    worst = std::max(worst, measure(owned_states(p), owned_states(expected), 0.05).rms);
    CAPTURE(c, threads, name(compute));
    CHECK(scratch_text + verify(p, expected, of_output, of_state) == "");
  }
};

void check_all(const recurrence_calls& calls, std::uint64_t seed) {
  const std::vector<int> levels{static_cast<int>(std::size(every_recurrence)),
                                static_cast<int>(std::size(lengths)),
                                static_cast<int>(std::size(dims)),
                                static_cast<int>(std::size(dims)),
                                static_cast<int>(std::size(heads)),
                                static_cast<int>(std::size(inputs)),
                                static_cast<int>(std::size(outputs)),
                                static_cast<int>(std::size(outputs)),
                                static_cast<int>(std::size(gates)),
                                3,
                                2,
                                2,
                                2,
                                2,
                                2,
                                2,
                                2,
                                2,
                                3,
                                2};
  sweep s{calls};
  std::uint64_t next = seed * 1000;
  for (const std::vector<int>& row : pairwise_plan(levels, seed)) {
    std::size_t f = 0;
    const auto level = [&] { return static_cast<std::size_t>(row[f++]); };
    recurrence_case c;
    c.op = every_recurrence[level()];
    c.T = lengths[level()];
    c.K = dims[level()];
    c.V = dims[level()];
    const std::int64_t(&pair)[2] = heads[level()];
    c.H = pair[0];
    c.HV = pair[1];
    c.inputs = inputs[level()];
    c.outputs = outputs[level()];
    c.states = outputs[level()];
    c.gate = gates[level()];
    c.B = static_cast<std::int64_t>(level()) + 1;
    c.packed = level() == 1;
    c.initial = level() == 1;
    c.final = level() == 1;
    c.pooled = level() == 1;
    c.many_betas = level() == 1 && has_delta(c.op);
    c.l2norm = level() == 1;
    c.heads = level() == 1 ? seqmix::head_map::tiled : seqmix::head_map::grouped;
    c.reverse = level() == 1;
    c.seed = ++next;
    const int threads = static_cast<int>(level()) + 1;
    s.check(c, threads, level() == 1);
  }
  std::printf("matrix recurrences, %s: %lld cases, RMS error of states %.2g at most\n",
              seqmix::name(calls.type), static_cast<long long>(s.cases), s.worst);
  CHECK(s.cases >= 100);
}

}  // namespace

TEST_CASE("operators with a matrix state against their oracles, f32",
          "[matrix_recurrence][threads]") {
  check_all(recurrence_calls_for<float>(), 1);
  check_all(recurrence_calls_for<float>(), 2);
}
TEST_CASE("operators with a matrix state against their oracles, f64",
          "[matrix_recurrence][threads-as-f32]") {
  check_all(recurrence_calls_for<double>(), 3);
}
TEST_CASE("operators with a matrix state against their oracles, bf16",
          "[matrix_recurrence][threads-as-f32]") {
  check_all(recurrence_calls_for<seqmix::bf16>(), 4);
}
TEST_CASE("operators with a matrix state against their oracles, f16",
          "[matrix_recurrence][threads-as-f32]") {
  check_all(recurrence_calls_for<seqmix::f16>(), 5);
}
