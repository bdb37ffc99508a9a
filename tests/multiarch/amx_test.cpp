// SPDX-License-Identifier: Apache-2.0
// The attention of bf16 by AMX, which runs only when a call pins it. Where the CPU has none, what
// a call is told; where it has, the numbers, beside those of the same algorithm by emulated tiles.
#include <cstdio>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/errors.hpp"
#include "support/tile_calls.hpp"

using namespace seqmix_test;

namespace {

const seqmix::context pinned{.pin = {.implementation = "amx"}};

template <class TO>
seqmix::dispatch_report explained(attention_problem& p, const seqmix::context& ctx) {
  using seqmix::bf16;
  return with_views<bf16, bf16, bf16, TO>(
      p, [&](const auto&... a) { return seqmix::softmax_attention.explain(a..., ctx); });
}

template <class TO>
void run_pinned(attention_problem& p, seqmix::context ctx = pinned) {
  using seqmix::bf16;
  p.clear_outputs();
  with_views<bf16, bf16, bf16, TO>(p,
                                   [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
}

template <class TO>
attention_problem problem_of(attention_case c) {
  c.types = emulated_calls<TO>().types;
  return attention_problem(c);
}

const attention_case some{.B = 2,
                          .T = 70,
                          .S = 300,
                          .H = 4,
                          .HK = 2,
                          .D = 80,
                          .V = 64,
                          .causal = true,
                          .lse = scalar_type::f32};

std::string reason(const seqmix::dispatch_report& r) {
  for (const auto& c : r.candidates) {
    if (c.implementation == "amx") {
      CHECK(c.target == "amx_bf16");
      return c.chosen ? "chosen" : c.reason;
    }
  }
  return "not listed";
}

/// Whether the numbers can be tested here; says so where not.
bool has_amx() {
  attention_problem p = problem_of<float>(some);
  const std::string why = reason(explained<float>(p, pinned));
  if (why != "chosen") {
    std::printf("the numbers of amx are not tested: it %s\n", why.c_str());
  }
  return why == "chosen";
}

}  // namespace

TEST_CASE("amx is listed, and runs only when it is pinned", "[none]") {
  attention_problem p = problem_of<float>(some);
  const seqmix::dispatch_report free = explained<float>(p, {});
  CAPTURE(free.text());
  CHECK(reason(free) == "runs only when pinned");
  CHECK(free.implementation != "amx");

  const seqmix::dispatch_report r = explained<float>(p, pinned);
  CAPTURE(r.text());
  if (has_amx()) {
    CHECK(r.implementation == "amx");
    CHECK(r.algorithm == "bf16_tiles");
    CHECK(r.workspace_bytes > 0);
  } else {
    CHECK(reason(r) == "lacks a CPU and a system with AMX (amx_tile, amx_bf16)");
    const seqmix::error e = error_of([&] { run_pinned<float>(p); });
    CHECK(std::string(e.what()).find("amx: lacks a CPU and a system with AMX") !=
          std::string::npos);
    CHECK(p.o.untouched());
  }
}

TEST_CASE("SEQMIX_ISA leaves amx with avx512 only", "[avx2][header]") {
  attention_problem p = problem_of<float>(some);
  CHECK(reason(explained<float>(p, pinned)).find("lacks ") == 0);
  const seqmix::error e = error_of([&] { run_pinned<float>(p); });
  CHECK(std::string(e.what()).find("amx: lacks ") != std::string::npos);
}

TEST_CASE("amx says what it does not have", "[none]") {
  if (has_amx()) {
    attention_case c = some;
    c.lse = scalar_type::none;
    c.normaliser.weights = seqmix::attention_weights::relu;
    attention_problem p = problem_of<float>(c);
    CHECK(reason(explained<float>(p, pinned)) == "lacks this normaliser (it has softmax)");
  }
}

TEST_CASE("amx beside emulated tiles and the definition", "[none]") {
  if (!has_amx()) {
    return;
  }
  // Float may differ in the last bits, as what is around the products is another instruction set;
  // rarely that rounds a weight to the other neighbour.
  const tolerance close{0x1p-12, 0x1p-12, 0x1p-12, 0x1p-7};
  std::uint64_t seed = 1;
  for (const std::int64_t T : {1, 33, 70, 600}) {
    for (const std::int64_t S : {1, 31, 257, 600}) {
      for (const std::int64_t D : {1, 64, 80, 128, 300}) {
        attention_case c{.B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = D, .V = D == 64 ? 100 : D};
        c.causal = seed % 2 == 0;
        c.form = static_cast<call_form>(seed % 4);
        c.softcap = seed % 5 == 0 ? 3 : 0;
        c.sink_logits = seed % 3 == 0;
        c.q = c.k = c.v = seed % 7 == 0 ? layout::strided : layout::dense;
        c.lse = scalar_type::f32;
        c.seed = seed++;
        CAPTURE(c);
        attention_problem p = problem_of<float>(c);
        run_pinned<float>(p);
        attention_problem emulated = p;
        run(emulated_calls<float>(), emulated, {});
        CHECK(compare(p.o.values(), emulated.o.values(), close, bound::target, 0x1p-8) == "");
        attention_problem rounded = problem_of<seqmix::bf16>(c);
        run_pinned<seqmix::bf16>(rounded);
        CHECK(verify(rounded, attention_reference(rounded), bound::ceiling) == "");
      }
    }
  }
}

TEST_CASE("amx: any number of workers gives the same bits", "[none][threads]") {
  if (!has_amx()) {
    return;
  }
  attention_case c = some;
  c.T = 600;
  c.S = 700;
  attention_problem one = problem_of<float>(c);
  run_pinned<float>(one);
  for (const int threads : {2, 4}) {
    attention_problem many = problem_of<float>(c);
    pool_executor pool(threads, 3);
    seqmix::context ctx = pinned;
    ctx.executor = pool;
    run_pinned<float>(many, ctx);
    CHECK((bits_of(many) == bits_of(one)));
  }
}
