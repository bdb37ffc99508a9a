// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"
#include "support/cuda_checks.hpp"
#include "support/errors.hpp"

// A program that links the CUDA back-end on a machine without a GPU.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::device_policy;

namespace {

/// Whether the case is to be left out; says why.
bool has_gpu(const char* what) {
  if (cuda_device_count() == 0) {
    return false;
  }
  std::printf("skipped: %s: this machine has a CUDA device\n", what);
  return true;
}

attention_case small_case() {
  attention_case c{.B = 2,
                   .T = 70,
                   .S = 90,
                   .H = 4,
                   .HK = 2,
                   .D = 64,
                   .V = 64,
                   .causal = true,
                   .lse = scalar_type::f32};
  c.types = types_of_all<bf16>();
  return c;
}

/// Whether a text says that there is no CUDA device, or no driver.
bool names_the_lack(const std::string& text) {
  return text.find("CUDA device") != std::string::npos ||
         text.find("CUDA driver") != std::string::npos;
}

const seqmix::dispatch_report::candidate& cuda_candidate(const seqmix::dispatch_report& report) {
  REQUIRE_FALSE(report.candidates.empty());
  REQUIRE(report.candidates[0].implementation == "cuda");
  return report.candidates[0];
}

}  // namespace

TEST_CASE("the CPU serves host tensors where the CUDA back-end is linked", "[cuda][host]") {
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    attention_case c = small_case();
    c.form = form;
    attention_problem p(c);
    for (const device_policy policy :
         {device_policy::automatic, device_policy::where_the_data_is, device_policy::cpu}) {
      CHECK(calls_for<bf16>().explain(p, {.device = policy}).implementation == "flash");
      p.clear_outputs();
      calls_for<bf16>().run(p, {.device = policy});
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}

TEST_CASE("the policy cuda without a GPU is an error that says so", "[cuda][host]") {
  if (has_gpu("the policy cuda without a GPU")) {
    return;
  }
  attention_problem p(small_case());
  const seqmix::context ctx{.device = device_policy::cuda};
  const seqmix::error e = error_of([&] { calls_for<bf16>().run(p, ctx); });
  CAPTURE(e.what());
  CHECK(names_the_lack(e.what()));
  CHECK(p.o.untouched());
  CHECK(p.lse.untouched());

  const auto report = calls_for<bf16>().explain(p, ctx);
  CAPTURE(report.text());
  CHECK(report.implementation.empty());
  CHECK(names_the_lack(cuda_candidate(report).reason));
}

TEST_CASE("device tensors without a GPU are an error that says so", "[cuda][host]") {
  if (has_gpu("device tensors without a GPU")) {
    return;
  }
  attention_problem p(small_case());
  for (tensor<4>* t : {&p.q, &p.k, &p.v, &p.o}) {
    t->place_at(t->memory().data(), {seqmix::device_kind::cuda, 0});
  }
  p.lse.place_at(p.lse.memory().data(), {seqmix::device_kind::cuda, 0});
  const seqmix::error e = error_of([&] { calls_for<bf16>().run(p, {}); });
  CAPTURE(e.what());
  CHECK(names_the_lack(e.what()));
  CHECK(p.o.untouched());
}

TEST_CASE("explain says why the CPU serves a large problem", "[cuda][host]") {
  if (has_gpu("a large problem without a GPU")) {
    return;
  }
  // Only explained.
  constexpr std::int64_t N = 8192;
  const std::vector<bf16> in(64);
  std::vector<bf16> out(N * 8 * 64);
  const seqmix::tensor_view<const bf16, 4> x{in.data(), {1, N, 8, 64}, {0, 0, 0, 1}};
  const seqmix::tensor_view<bf16, 4> o{out.data(),
                                       {std::int64_t{1}, N, std::int64_t{8}, std::int64_t{64}}};
  const auto report = seqmix::softmax_attention.explain(x, x, x, o);
  CAPTURE(report.text());
  CHECK(report.implementation == "flash");
  CHECK(names_the_lack(cuda_candidate(report).reason));

  // A small one does not even look for a GPU, and says so.
  attention_problem p(small_case());
  const auto small = calls_for<bf16>().explain(p, {});
  CAPTURE(small.text());
  CHECK(small.implementation == "flash");
  CHECK(cuda_candidate(small).reason.find("large enough") != std::string::npos);
}

TEST_CASE("what the kernels lack is said with or without a GPU", "[cuda][host]") {
  attention_case c = small_case();
  c.bias = bias_shape::full;
  attention_problem biased(c);
  CHECK(cuda_candidate(calls_for<bf16>().explain(biased, {})).reason.find("bias") !=
        std::string::npos);
  c = small_case();
  c.types = types_of_all<float>();
  attention_problem f(c);
  CHECK(cuda_candidate(calls_for<float>().explain(f, {})).reason.find("f32") != std::string::npos);
}
