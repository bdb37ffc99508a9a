// SPDX-License-Identifier: Apache-2.0
#include <seqmix/dispatch/registry.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/small_attention.hpp"

// Back-ends stay for the life of a program, so these have switches, and a program of their own.

namespace {

using problem = seqmix::softmax_attention_problem;
using seqmix::dispatch::backend;
using seqmix::dispatch::offer;
using seqmix::dispatch::processor;
using registry = seqmix::dispatch::registry<problem>;

std::vector<std::string> asked;
std::vector<std::string> ran;

/// What a back-end answers; `Id` makes each one's functions its own.
template <int Id>
struct dummy {
  static inline std::string name;
  static inline bool accepts = false;
  static inline std::size_t scratch_bytes = 0;
  static inline float filling = 0;
  static inline std::optional<seqmix::error> failure;

  static offer query(const problem& p, const seqmix::context&) {
    asked.push_back(name);
    if (!accepts) {
      return {.lacks = "everything", .target = "test bench"};
    }
    if (p.required.contains(seqmix::softmax_attention_feature::causal)) {
      return {.lacks = seqmix::name(seqmix::softmax_attention_feature::causal),
              .target = "test bench"};
    }
    return {.algorithm = "constant",
            .target = "test bench",
            .splits = 3,
            .workspace_bytes = scratch_bytes};
  }
  static seqmix::detail::violation run(const problem& p, const seqmix::context&,
                                       std::byte* scratch) {
    ran.push_back(name);
    if (failure) {
      return failure;
    }
    std::fill_n(scratch, scratch_bytes, std::byte{1});
    if (p.o.memory.on_host()) {
      std::fill_n(static_cast<float*>(p.o.data), p.o.size(), filling);
    }
    return {};
  }
  static backend<problem>& entry(const char* its_name, int preference, processor runs_on) {
    static backend<problem> b{
        .entry = {.name = its_name, .runs_on = runs_on, .query = query, .run = run},
        .preference = preference};
    name = its_name;
    filling = static_cast<float>(100 + Id);
    return b;
  }
};

using low = dummy<0>;
using high = dummy<1>;
using also_high = dummy<2>;
using gpu = dummy<3>;

/// Registers everything once, in an order that is not the order of preference.
void start() {
  static const bool once = [] {
    registry::add(low::entry("low", 1, processor::cpu));
    registry::add(high::entry("high", 9, processor::cpu));
    registry::add(gpu::entry("gpu", 5, processor::cuda));
    registry::add(also_high::entry("also_high", 9, processor::cpu));
    return true;
  }();
  REQUIRE(once);
  low::accepts = high::accepts = also_high::accepts = gpu::accepts = false;
  high::scratch_bytes = 0;
  high::failure.reset();
  asked.clear();
  ran.clear();
}

std::vector<std::string> names(const seqmix::dispatch_report& r) {
  std::vector<std::string> n;
  for (const auto& c : r.candidates) {
    n.push_back(c.implementation);
  }
  return n;
}
std::string reason(const seqmix::dispatch_report& r, const std::string& name) {
  for (const auto& c : r.candidates) {
    if (c.implementation == name) {
      return c.chosen ? "chosen" : c.reason;
    }
  }
  return "not listed";
}
using list = std::vector<std::string>;

}  // namespace

TEST_CASE("back-ends come in order of preference, then of name") {
  start();
  list order;
  for (auto* b = registry::after(nullptr); b != nullptr; b = registry::after(b)) {
    order.push_back(b->entry.name);
  }
  CHECK(order == list{"also_high", "high", "gpu", "low"});
}

TEST_CASE("back-ends that refuse are asked first, and the CPU runs") {
  start();
  small_attention a;
  a();
  const auto want = a.o;
  CHECK(!a.wrote_nothing());
  CHECK(ran.empty());
  CHECK(asked == list{"also_high", "high", "gpu", "low"});
  CHECK(std::none_of(want.begin(), want.end(), [](float x) { return x > 50; }));
}

TEST_CASE("a back-end that accepts runs, and nothing else does") {
  start();
  low::accepts = true;
  small_attention a;
  a();
  CHECK(ran == list{"low"});
  CHECK(a.o == std::vector<float>(a.o.size(), low::filling));

  // The preferred of two.
  high::accepts = true;
  ran.clear();
  asked.clear();
  a();
  CHECK(ran == list{"high"});
  CHECK(asked == list{"also_high", "high"});
  CHECK(a.o == std::vector<float>(a.o.size(), high::filling));

  also_high::accepts = true;
  ran.clear();
  a();
  CHECK(ran == list{"also_high"});
}

TEST_CASE("explain asks every implementation and gives its reason") {
  start();
  low::accepts = true;
  gpu::accepts = true;
  small_attention a;
  const auto r = a.explain();
  CHECK(ran.empty());
  CHECK(a.wrote_nothing());
  CHECK(r.operator_name == "softmax_attention");
  CHECK(names(r) == list{"also_high", "high", "gpu", "low", "flash", "naive"});
  CHECK(reason(r, "high") == "lacks everything");
  CHECK(reason(r, "gpu") == "chosen");
  CHECK(reason(r, "low") == "an earlier one accepts");
  CHECK(reason(r, "flash") == "an earlier one accepts");
  CHECK(reason(r, "naive") == "runs only when pinned");
  CHECK(r.implementation == "gpu");
  CHECK(r.target == "test bench");
  CHECK(r.algorithm == "constant");
  CHECK(r.splits == 3);
  CHECK(r.text().find("softmax_attention: gpu on test bench, algorithm constant, splits 3, "
                      "workspace 0 bytes\n") == 0);
  CHECK(r.text().find("\n  high (test bench): lacks everything\n") != std::string::npos);
}

TEST_CASE("a refusal names the feature that lacks") {
  start();
  high::accepts = true;
  small_attention a;
  CHECK(a.explain().implementation == "high");
  const auto r = a.explain({}, {.causal = true});
  CHECK(reason(r, "high") == "lacks causal");
  CHECK(r.implementation == "flash");
  a({}, {.causal = true});
  CHECK(ran.empty());
  CHECK(!a.wrote_nothing());
}

TEST_CASE("a pin chooses among back-ends and the CPU") {
  start();
  low::accepts = high::accepts = true;
  small_attention a;
  a({.pin = {.implementation = "low"}});
  CHECK(ran == list{"low"});

  a.reset();
  ran.clear();
  a({.pin = {.implementation = "flash"}});
  CHECK(ran.empty());
  CHECK(!a.wrote_nothing());
  CHECK(a.o != std::vector<float>(a.o.size(), low::filling));

  a.reset();
  const auto e = error_of([&] { a({.pin = {.implementation = "also_high"}}); });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("also_high: lacks everything") != std::string::npos);
  CHECK(e.actual().find("low: another implementation is pinned") != std::string::npos);
  CHECK(a.wrote_nothing());
  CHECK(ran.empty());
}

TEST_CASE("a pinned instruction set is compared with the target") {
  start();
  low::accepts = true;
  small_attention a;
  a({.pin = {.isa = "test bench"}});
  CHECK(ran == list{"low"});
  const auto r = a.explain({.pin = {.isa = "another bench"}});
  CHECK(reason(r, "low") == "the pinned instruction set is another bench");
}

TEST_CASE("the device policy rules back-ends in and out") {
  start();
  gpu::accepts = low::accepts = true;
  small_attention a;
  a({.device = seqmix::device_policy::cpu});
  CHECK(ran == list{"low"});
  CHECK(reason(a.explain({.device = seqmix::device_policy::cpu}), "gpu") ==
        "the device policy is cpu");

  ran.clear();
  a({.device = seqmix::device_policy::cuda});
  CHECK(ran == list{"gpu"});
  CHECK(reason(a.explain({.device = seqmix::device_policy::cuda}), "low") ==
        "the device policy is cuda");

  // With a CUDA back-end linked, its own reason is what the error says.
  gpu::accepts = false;
  a.reset();
  const auto e = error_of([&] { a({.device = seqmix::device_policy::cuda}); });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("gpu: lacks everything") != std::string::npos);
  CHECK(a.wrote_nothing());
}

TEST_CASE("device tensors go to a CUDA back-end only") {
  start();
  gpu::accepts = low::accepts = high::accepts = true;
  small_attention a;
  a.memory = {seqmix::device_kind::cuda, 0};
  a();
  CHECK(ran == list{"gpu"});
  CHECK(asked == list{"gpu"});
  CHECK(a.wrote_nothing());
  CHECK(reason(a.explain(), "low") == "the tensors are on a CUDA device");

  const auto e = error_of([&] { a({.device = seqmix::device_policy::cpu}); });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("gpu: the device policy is cpu") != std::string::npos);
}

TEST_CASE("pinned host memory is host memory") {
  start();
  low::accepts = true;
  small_attention a;
  a.memory = {seqmix::device_kind::cuda_pinned, 0};
  a();
  CHECK(ran == list{"low"});
}

TEST_CASE("host tensors under where_the_data_is stay on the CPU") {
  start();
  gpu::accepts = low::accepts = true;
  small_attention a;
  a({.device = seqmix::device_policy::where_the_data_is});
  CHECK(ran == list{"low"});
}

TEST_CASE("a back-end's scratch is the size that it asked for") {
  start();
  high::accepts = true;
  high::scratch_bytes = 1000;
  small_attention a;
  CHECK(a.workspace_bytes() == 1000);
  CHECK(a.explain().workspace_bytes == 1000);
  a();  // from the arena
  CHECK(ran == list{"high"});
  std::vector<std::byte> memory(999);
  a.reset();
  const auto e = error_of([&] { a({.workspace = memory}); });
  CHECK(e.argument() == "context.workspace");
  CHECK(a.wrote_nothing());
}

TEST_CASE("an error of a back-end's run reaches the caller") {
  start();
  high::accepts = true;
  high::failure.emplace("softmax_attention", "launch", "success", "out of memory");
  small_attention a;
  const auto e = error_of([&] { a(); });
  CHECK(std::string(e.what()) ==
        "seqmix::softmax_attention: launch: expected success, got out of memory");
  CHECK(ran == list{"high"});
}

TEST_CASE("a violated contract reaches no back-end") {
  start();
  high::accepts = true;
  small_attention a;
  const auto e = error_of([&] { a({}, {.sink_tokens = -1}); });
  CHECK(e.argument() == "options.sink_tokens");
  CHECK(asked.empty());
  CHECK(ran.empty());
}

TEST_CASE("text in place is cut, never overrun") {
  seqmix::dispatch::fixed_text<8> t("abc");
  CHECK(t.view() == "abc");
  t.append("defghij");
  CHECK(t.view() == "abcdefg");
  t.append("x");
  CHECK(t.view() == "abcdefg");
  CHECK(seqmix::dispatch::fixed_text<8>{}.empty());
  CHECK(!t.empty());
}
