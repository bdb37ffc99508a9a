// SPDX-License-Identifier: Apache-2.0
// What is chosen. Each tag is a value of SEQMIX_ISA, with which the case must run.
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

namespace {

using seqmix::dispatch_report;

const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
constexpr const char* avx2 = "fma3+avx2";
constexpr const char* avx512 = "avx512bw";

template <class T>
struct tensors {
  std::vector<T> memory = std::vector<T>(3 * 4 * 64, T(1.0f));

  template <class Verb>
  auto operator()(const Verb& verb, const seqmix::context& ctx) {
    const auto x = seqmix::view(static_cast<const T*>(memory.data()), 1, 4, 1, 64);
    return verb(x, x, x, seqmix::view(memory.data() + 2 * 4 * 64, 1, 4, 1, 64),
                seqmix::softmax_attention_options{}, ctx);
  }
};

template <class T = float>
dispatch_report explained(const seqmix::pin_options& pin = {}) {
  return tensors<T>()(seqmix::softmax_attention.explain, {.pin = pin});
}

/// Why the back-end's kernels for a target are not taken.
std::string reason_of(const dispatch_report& r, const std::string& target) {
  for (const auto& c : r.candidates) {
    if (c.implementation == "multiarch" && c.target == target) {
      return c.reason;
    }
  }
  return "not listed";
}

}  // namespace

TEST_CASE("without a choice the widest set that the CPU has serves", "[none]") {
  const dispatch_report r = explained();
  CAPTURE(r.text());
  CHECK(r.target == (has_avx512 ? avx512 : has_avx2 ? avx2 : "sse2"));
  CHECK(r.implementation == (has_avx2 ? "multiarch" : "flash"));
  REQUIRE(r.candidates.size() >= 3);
  CHECK(r.candidates[0].target == avx512);
  CHECK(r.candidates[1].target == avx2);
  if (!has_avx512) {
    CHECK(reason_of(r, avx512) == "lacks a CPU and a system with AVX-512 (x86-64-v4)");
  }
  if (!has_avx2) {
    CHECK(reason_of(r, avx2) == "lacks a CPU and a system with AVX2 (x86-64-v3)");
  }
}

TEST_CASE("a context pins the back-end, an instruction set, or the header", "[none]") {
  CHECK(explained({.implementation = "flash"}).implementation == "flash");
  CHECK(explained({.isa = "sse2"}).implementation == "flash");
  CHECK(explained({.algorithm = "split_kv"}).algorithm == "split_kv");
  if (has_avx2) {
    const dispatch_report r = explained({.implementation = "multiarch", .isa = avx2});
    CHECK(r.implementation == "multiarch");
    CHECK(r.target == avx2);
  }
  if (!has_avx512) {
    const seqmix::error e = error_of([] {
      tensors<float>()(seqmix::softmax_attention,
                       {.pin = {.implementation = "multiarch", .isa = avx512}});
    });
    CHECK(std::string(e.what()).find("AVX-512 (x86-64-v4)") != std::string::npos);
  }
}

TEST_CASE("what it has no code for the header serves, and it says so", "[none]") {
  std::vector<float> q(4 * 64, 1.0f), o(q.size());
  const std::vector<double> k(4 * 64, 1.0);
  const auto mixed = seqmix::softmax_attention.explain(
      seqmix::view(static_cast<const float*>(q.data()), 1, 4, 1, 64),
      seqmix::view(k.data(), 1, 4, 1, 64), seqmix::view(k.data(), 1, 4, 1, 64),
      seqmix::view(o.data(), 1, 4, 1, 64));
  CHECK(mixed.implementation == "flash");
  if (has_avx2) {
    CHECK(reason_of(mixed, avx2) ==
          "lacks these element types (it has f32, f64, f16, bf16, and f32 over f16, bf16 or i8)");
  }
}

TEST_CASE("SEQMIX_ISA leaves one instruction set", "[avx2]") {
  const dispatch_report r = explained();
  CAPTURE(r.text());
  CHECK(r.target == (has_avx2 ? avx2 : "sse2"));
  if (has_avx512) {
    CHECK(reason_of(r, avx512) ==
          "lacks the instruction set of the environment: SEQMIX_ISA is avx2");
  }
}

TEST_CASE("SEQMIX_ISA may name one that the CPU does not have", "[avx512]") {
  const dispatch_report r = explained();
  CAPTURE(r.text());
  CHECK(r.target == (has_avx512 ? avx512 : "sse2"));
  if (has_avx2) {
    CHECK(reason_of(r, avx2) ==
          "lacks the instruction set of the environment: SEQMIX_ISA is avx512");
  }
}

TEST_CASE("SEQMIX_ISA may leave the header alone", "[header]") {
  const dispatch_report r = explained<double>();
  CHECK(r.implementation == "flash");
  CHECK(r.target == "sse2");
}

TEST_CASE("a set that nobody knows is said to be unknown", "[avx1024]") {
  const dispatch_report r = explained();
  CHECK(r.implementation == "flash");
  if (has_avx2) {
    CHECK(reason_of(r, avx2) ==
          "lacks a known SEQMIX_ISA, one of avx512, avx2 and header: it is avx1024");
  }
}
