// SPDX-License-Identifier: Apache-2.0
// The selective scan against its definition, over sizes, forms, types and layouts.
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pairwise.hpp"
#include "support/scan_problem.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

struct kind {
  scalar_type input, output, state;
  void (*run)(scan_problem&, const seqmix::context&);
};

const kind kinds[] = {
    {scalar_type::f32, scalar_type::f32, scalar_type::f32, &run_scan<float, float, float>},
    {scalar_type::f64, scalar_type::f64, scalar_type::f64, &run_scan<double, double, double>},
    {scalar_type::bf16, scalar_type::bf16, scalar_type::f32, &run_scan<bf16, bf16, float>},
    {scalar_type::f16, scalar_type::f32, scalar_type::bf16, &run_scan<f16, float, bf16>},
};

constexpr layout layouts[] = {layout::dense,     layout::head_first,    layout::padded,
                              layout::strided,   layout::reversed,      layout::misaligned,
                              layout::broadcast, layout::broadcast_time};
constexpr std::int64_t batches[] = {1, 3};
constexpr std::int64_t times[] = {0, 1, 2, 7, 31, 32, 33, 70};
constexpr std::int64_t groups_of[][2] = {{1, 1},  {5, 1},  {16, 1},  {33, 1}, {64, 1},
                                         {70, 1}, {48, 3}, {130, 1}, {12, 6}, {40, 2}};
constexpr std::int64_t sizes[] = {1, 2, 3, 7, 16, 17, 64};

scan_case case_of(const std::vector<int>& level) {
  const auto at = [&](std::size_t i) { return static_cast<std::size_t>(level[i]); };
  scan_case c;
  c.B = batches[at(0)];
  c.T = times[at(1)];
  c.D = groups_of[at(2)][0];
  c.G = groups_of[at(2)][1];
  c.N = sizes[at(3)];
  c.own = static_cast<own_rows>(at(4));
  const kind& k = kinds[at(5)];
  c.type = k.input;
  c.output = k.output;
  c.state = k.state;
  c.is_complex = level[6] == 1;
  c.packed = level[7] == 1;
  c.reverse = level[8] == 1;
  c.initial = level[9] % 2 == 1;
  c.final = level[9] >= 1;
  c.pooled = level[9] >= 2 && level[9] <= 3;
  c.softplus = level[10] % 2 == 0;
  c.step = c.softplus ? (level[10] == 0 ? -2 : 1) : 0.1;
  c.skip = level[11] % 2 == 0;
  c.gate = level[11] < 2;
  c.bias = level[11] != 1;
  c.inputs = layouts[at(12)];
  c.outputs = layouts[at(13)];
  c.states = layouts[at(14)];
  c.equal = level[15] == 1 && !c.is_complex;
  if (!c.softplus) {
    c.rate = -0.05;  // steps of either sign: states must not grow much
  }
  c.seed = mix(static_cast<std::uint64_t>(c.D * 1000 + c.N * 10 + c.T)) % 1000;
  return c;
}

}  // namespace

TEST_CASE("the selective scan against its definition", "[selective_scan][R01]") {
  const test_plan plan = pairwise_plan({2, 8, 10, 7, 3, 4, 2, 2, 2, 5, 4, 4, 8, 6, 6, 2}, 2027);
  REQUIRE(plan.size() >= 80);
  double rms = 0;
  int counted = 0;
  for (const std::vector<int>& level : plan) {
    const scan_case c = case_of(level);
    const kind& k = kinds[level[5]];
    scan_problem p(c);
    k.run(p, {});
    CAPTURE(c);
    // Angles that hardly decay add up what each step was rounded by.
    CHECK(p.verify(c.is_complex && !c.softplus ? bound::ceiling : bound::target) == "");
    if (c.output == scalar_type::f32 && c.type == scalar_type::f32 && c.T > 1) {
      std::vector<double> o, s;
      p.expect(o, s);
      if (!c.packed) {
        rms += measure(p.y.values(), o, 0.1).rms;
        ++counted;
      }
    }
  }
  WARN(plan.size() << " cases; RMS error of f32 on average " << rms / counted);
  CHECK(rms / counted < tolerance_of(scalar_type::f32).typical);
}

TEST_CASE("the oracle of the selective scan against the definition", "[selective_scan][R01]") {
  const test_plan plan = pairwise_plan({2, 4, 8, 3, 3, 2, 2, 2, 2, 5, 4, 4, 8, 6, 6, 2}, 11);
  for (std::vector<int> level : plan) {
    level[5] = 1;
    scan_problem p(case_of(level));
    run_scan<double, double, double>(p, {.pin = {.implementation = "naive"}});
    CAPTURE(p.c);
    CHECK(p.verify() == "");
  }
}
