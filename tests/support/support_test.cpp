// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "support/attention_problem.hpp"
#include "support/catch.hpp"
#include "support/pairwise.hpp"
#include "support/pool.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

// The tests' own tools: what they must notice, they notice.

using namespace seqmix_test;

namespace {

constexpr scalar_type f32 = scalar_type::f32;
constexpr layout every_layout[] = {layout::dense,      layout::padded,   layout::strided,
                                   layout::head_first, layout::reversed, layout::misaligned};

}  // namespace

TEST_CASE("comparisons notice errors, infinities and NaN", "[support]") {
  const double nan = std::nan("");
  const std::vector<double> reference(1000, 1.0);
  const tolerance t = tolerance_of(f32);
  const auto differs = [&](std::size_t at, double value, bound which = bound::target) {
    std::vector<double> x = reference;
    x[at] = value;
    return !compare(x, reference, t, which).empty();
  };
  CHECK_FALSE(differs(7, 1 + 1e-6));
  CHECK(differs(7, 1 + 1e-4));  // one bad element does not drown in the RMS
  CHECK(differs(999, nan));
  CHECK(differs(0, infinity));
  CHECK(differs(0, -infinity));
  // A small error everywhere.
  const std::vector<double> off(1000, 1 + 4e-6);
  CHECK(compare(off, reference, t, bound::ceiling) == "");
  CHECK(compare(off, reference, t, bound::target) != "");
  CHECK(compare(std::vector<double>(1000, 1 + 6e-6), reference, t, bound::ceiling) != "");
  // Kinds must match both ways.
  CHECK(compare({nan}, {nan}, t) == "");
  CHECK(compare({1.0}, {nan}, t) != "");
  CHECK(compare({-infinity}, {-infinity}, t) == "");
  CHECK(compare({infinity}, {-infinity}, t) != "");
  CHECK(compare({nan}, {infinity}, t) != "");
  // Zeros must be zeros.
  CHECK(compare({0.0, 0.0}, {0.0, 0.0}, t) == "");
  CHECK(compare({0.0, 1e-30}, {0.0, 0.0}, t) != "");
  CHECK(compare({0.0}, {0.0, 0.0}, t) != "");
}

TEST_CASE("tensors keep elements apart and notice writes between them", "[support]") {
  for (const scalar_type type : {f32, scalar_type::f64, scalar_type::f16, scalar_type::bf16}) {
    for (const layout kind : every_layout) {
      CAPTURE(name(type), name(kind));
      tensor<4> t(type, {2, 3, 2, 5}, kind);
      CHECK(t.untouched());
      std::int64_t n = 0;
      t.for_each([&](const tensor<4>::index& i) { t.set(i, static_cast<double>(n++)); });
      CHECK(n == 60);
      n = 0;
      bool kept = true;
      t.for_each([&](const tensor<4>::index& i) { kept &= t[i] == static_cast<double>(n++); });
      CHECK(kept);  // no two elements share memory
      CHECK(t.gaps_untouched());
      CHECK_FALSE(t.untouched());
    }
  }
  // One element before, behind and between.
  tensor<1> gaps(f32, {4}, layout::strided);
  gaps.fill(1);
  CHECK(gaps.gaps_untouched());
  float* p = gaps.view<float>().data_handle();
  for (const int at : {-1, 1, 2, 10, 12}) {
    tensor<1> t = gaps;
    t.view<float>().data_handle()[at] = 1;
    CAPTURE(at);
    CHECK_FALSE(t.gaps_untouched());
  }
  CHECK(p[3] == static_cast<float>(gaps[{1}]));
}

TEST_CASE("layouts are what their names say", "[support]") {
  const tensor<4>::index shape{2, 3, 4, 5};
  using strides = tensor<4>::index;
  CHECK(tensor<4>(f32, shape).strides() == strides{60, 20, 5, 1});
  CHECK(tensor<4>(f32, shape, layout::head_first).strides() == strides{60, 5, 15, 1});
  CHECK(tensor<4>(f32, shape, layout::strided).strides()[3] == 3);
  CHECK(tensor<4>(f32, shape, layout::reversed).strides()[3] == -1);
  CHECK(tensor<4>(f32, shape, layout::reversed).strides()[0] < -60);
  CHECK(tensor<4>(f32, shape, layout::padded).strides()[2] > 5);
  CHECK(tensor<4>(f32, shape, layout::broadcast).strides()[0] == 0);
  CHECK(tensor<4>(f32, shape, layout::broadcast).strides()[2] == 0);
  CHECK(tensor<4>(f32, shape, layout::broadcast_time).strides()[1] == 0);
  CHECK(tensor<4>(f32, shape, layout::shared).strides() == strides{0, 5, 0, 1});
  const auto address = [&](layout kind) {
    return reinterpret_cast<std::uintptr_t>(
        tensor<4>(f32, shape, kind).view<float>().data_handle());
  };
  CHECK(address(layout::dense) % 64 == 0);
  CHECK(address(layout::misaligned) % 64 == 4);
  // Values do not depend on the layout.
  tensor<4> dense(f32, shape);
  dense.fill(9);
  for (const layout kind : every_layout) {
    tensor<4> t(f32, shape, kind);
    t.fill(9);
    CHECK(t.values() == dense.values());
  }
}

TEST_CASE("generated values are near normal", "[support]") {
  tensor<1> t(scalar_type::f64, {20000});
  t.fill(5);
  double sum = 0;
  double squares = 0;
  for (const double x : t.values()) {
    sum += x;
    squares += x * x;
  }
  CHECK(std::fabs(sum / 20000) < 0.03);
  CHECK(std::fabs(squares / 20000 - 1) < 0.03);
}

TEST_CASE("workspaces notice writes outside", "[support]") {
  for (const std::size_t at : {std::size_t{0}, std::size_t{99}}) {
    guarded_workspace w(100, 3);
    w.span()[at] = std::byte{1};
    CHECK(w.guards_untouched());
  }
  for (const std::ptrdiff_t at : {-1, 100}) {
    guarded_workspace w(100, 3);
    w.span().data()[at] = std::byte{1};
    CHECK_FALSE(w.guards_untouched());
  }
}

TEST_CASE("covering arrays cover every pair, and repeat", "[support]") {
  const std::vector<int> levels{11, 8, 2, 6, 3, 1, 4};
  const test_plan plan = pairwise_plan(levels, 7);
  std::set<std::vector<std::size_t>> seen;
  for (const std::vector<int>& row : plan) {
    for (std::size_t f = 0; f < levels.size(); ++f) {
      REQUIRE((row[f] >= 0 && row[f] < levels[f]));
      for (std::size_t g = f + 1; g < levels.size(); ++g) {
        seen.insert({f, g, static_cast<std::size_t>(row[f]), static_cast<std::size_t>(row[g])});
      }
    }
  }
  std::size_t pairs = 0;
  for (std::size_t f = 0; f < levels.size(); ++f) {
    for (std::size_t g = f + 1; g < levels.size(); ++g) {
      pairs += static_cast<std::size_t>(levels[f] * levels[g]);
    }
  }
  CHECK(seen.size() == pairs);
  CHECK(plan.size() >= 88);
  CHECK(plan.size() < 120);
  CHECK(plan == pairwise_plan(levels, 7));
  CHECK(plan != pairwise_plan(levels, 8));
  CHECK(full_plan({2, 3, 4}).size() == 24);
}

TEST_CASE("the pool runs every task once, on no more workers than it says", "[support][threads]") {
  for (const int threads : {1, 2, 3}) {
    for (const std::uint64_t shuffle : {0u, 4u}) {
      pool_executor pool(threads, shuffle);
      std::vector<std::atomic<int>> counts(100);
      std::vector<std::atomic<int>> busy(static_cast<std::size_t>(threads));
      std::atomic<bool> wrong{false};
      const auto task = [&](std::int64_t i, int worker) {
        if (worker < 0 || worker >= threads || busy[static_cast<std::size_t>(worker)]++ != 0) {
          wrong = true;
          return;
        }
        ++counts[static_cast<std::size_t>(i)];
        --busy[static_cast<std::size_t>(worker)];
      };
      pool.run(100, task);
      CHECK_FALSE(wrong);
      bool once = true;
      for (const auto& n : counts) {
        once &= n == 1;
      }
      CHECK(once);
    }
  }
}

TEST_CASE("the reference and its check notice a wrong element and a foreign write", "[support]") {
  attention_case c{.B = 3,
                   .T = 9,
                   .S = 12,
                   .H = 2,
                   .HK = 1,
                   .D = 4,
                   .V = 5,
                   .causal = true,
                   .lse = f32,
                   .form = call_form::packed,
                   .seed = 7};
  attention_problem p(c);
  const attention_reference expected(p);
  const auto put = [&](attention_problem& x) {
    std::size_t at = 0;
    const std::vector<char> owned = x.owned_rows();
    x.o.for_each([&](const tensor<4>::index& i) {
      if (owned[static_cast<std::size_t>(i[1])] != 0) {
        x.o.set(i, expected.o[at]);
      }
      ++at;
    });
    at = 0;
    x.lse.for_each([&](const tensor<3>::index& i) {
      if (owned[static_cast<std::size_t>(i[2])] != 0) {
        x.lse.set(i, expected.lse[at]);
      }
      ++at;
    });
  };
  put(p);
  REQUIRE(verify(p, expected) == "");
  attention_problem value = p;
  value.o.set({0, 8, 1, 4}, value.o[{0, 8, 1, 4}] + 1e-3);
  CHECK(verify(value, expected) != "");
  attention_problem sum = p;
  sum.lse.set({0, 1, 8}, 7);
  CHECK(verify(sum, expected) != "");
  attention_problem unwritten(c);
  CHECK(verify(unwritten, expected) != "");
  // With this seed rows follow the last sequence.
  const std::int64_t last = p.o.extent(1) - 1;
  REQUIRE(p.owned_rows()[static_cast<std::size_t>(last)] == 0);
  attention_problem foreign = p;
  foreign.o.set({0, last, 0, 0}, 0);
  CHECK(verify(foreign, expected) != "");
}

TEST_CASE("a tensor that is placed elsewhere hands out views of there", "[support]") {
  attention_case c{.B = 2, .T = 9, .S = 12, .form = call_form::packed, .seed = 2};
  attention_problem p(c);
  const auto home = p.q.view<float>();
  CHECK(p.options().varlen.max_q == 0);
  const seqmix::device gpu{seqmix::device_kind::cuda, 3};
  std::vector<std::byte> copy(p.q.memory().size());
  p.q.place_at(copy.data(), gpu);
  p.q_offsets.place_at(p.q_offsets.memory().data(), gpu);
  const auto away = p.q.packed_view<float>();
  CHECK(away.memory() == gpu);
  CHECK(reinterpret_cast<std::byte*>(away.data_handle()) - copy.data() ==
        reinterpret_cast<std::byte*>(home.data_handle()) - p.q.memory().data());
  CHECK(p.options().varlen.q_offsets.memory == gpu);
  CHECK(p.options().varlen.max_q == 9);
  CHECK(p.options().varlen.max_k == 0);  // those offsets are at home
  p.q.take_back();
  CHECK(p.q.view<float>().data_handle() == home.data_handle());
  CHECK(p.q.view<float>().memory() == seqmix::device{});
}
