// SPDX-License-Identifier: Apache-2.0
// Strides beyond 2^31, overlapping inputs, warm calls.
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/recurrence_problem.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;

TEST_CASE("a warm call allocates nothing and says what it runs", "[matrix_recurrence]") {
  for (const recurrence op : every_recurrence) {
    recurrence_case c{.op = op, .B = 3, .T = 40, .H = 2, .HV = 4, .K = 33, .V = 20};
    c.initial = c.final = c.pooled = c.packed = true;
    recurrence_problem p(c);
    p.clear_outputs();
    with_recurrence<float, float, float>(p, [&](const auto& call, const auto&, const auto&... x) {
      call(x...);
      const long before = allocations;
      call(x...);
      const long after = allocations;
      CAPTURE(name(op));
      CHECK(after == before);
      const seqmix::dispatch_report report = call.explain(x...);
      CHECK(report.implementation == "recurrence");
      CHECK(report.algorithm == "recurrent");
      CHECK(call.workspace_bytes(x...) > 0);
      CHECK_THROWS_AS(call(x..., seqmix::context{.pin = {.algorithm = "wave"}}), seqmix::error);
    });
  }
}

TEST_CASE("strides of the recurrences beyond 2^31 elements", "[matrix_recurrence]") {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 4099;
  constexpr std::size_t bytes = (static_cast<std::size_t>(far) * 2 + 100) * sizeof(float);
  const sparse_memory memory[7] = {sparse_memory(bytes), sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes), sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes)};
  for (const sparse_memory& m : memory) {
    if (m.data() == nullptr) {
      WARN("not run: the system grants no " << (bytes >> 30) << " GiB of address space");
      return;
    }
  }
  recurrence_case c{.op = recurrence::kda, .B = 3, .T = 3, .H = 3, .HV = 3, .K = 3, .V = 3};
  c.initial = c.final = true;
  recurrence_problem p(c);
  recurrence_calls_for<float>().run(p, {});
  for (std::size_t axis = 0; axis < 4; ++axis) {
    for (const std::int64_t step : {far, -far}) {
      std::int64_t strides[4] = {27, 9, 3, 1};
      strides[axis] = step;
      const auto place = [&](std::size_t i) {
        return seqmix::tensor_view<float, 4>(memory[i].data() + (step < 0 ? 2 * far : 0),
                                             {3, 3, 3, 3},
                                             {strides[0], strides[1], strides[2], strides[3]});
      };
      const tensor<4>* from[5] = {&p.q, &p.k, &p.v, &p.gate, &p.initial};
      for (std::size_t i = 0; i < 5; ++i) {
        const auto to = place(i);
        from[i]->for_each([&](const tensor<4>::index& at) {
          to(at[0], at[1], at[2], at[3]) = static_cast<float>((*from[i])[at]);
        });
      }
      const auto o = place(5);
      const auto state = place(6);
      seqmix::kda(place(0), place(1), place(2), place(3), without_last(p.beta.view<const float>()),
                  o, {.initial_state = place(4), .final_state = state});
      bool same = true;
      p.o.for_each([&](const tensor<4>::index& at) {
        same = same && static_cast<double>(o(at[0], at[1], at[2], at[3])) == p.o[at] &&
               static_cast<double>(state(at[0], at[1], at[2], at[3])) == p.final[at];
      });
      CAPTURE(axis, step);
      CHECK(same);
    }
  }
}

TEST_CASE("inputs may share memory with each other", "[matrix_recurrence]") {
  std::vector<float> x(2 * 9 * 2 * 4), o(x.size()), copy(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(normal(i)) / 4;
  }
  const std::vector<float> other = x;
  const auto at = [](std::vector<float>& y) { return seqmix::view(y.data(), 2, 9, 2, 4); };
  const auto in = seqmix::view(other.data(), 2, 9, 2, 4);
  const std::vector<float> beta(2 * 9 * 2, 0.5F);
  const auto strength = seqmix::view(beta.data(), 2, 9, 2);
  seqmix::delta_rule(at(x), at(x), at(x), strength, at(o));
  seqmix::delta_rule(at(x), in, in, strength, at(copy));
  CHECK(o == copy);
}
