// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/row_refusals.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::output_gate;
using seqmix::output_norm_kind;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 3, H = 4, D = 6;
constexpr device gpu{device_kind::cuda, 0};

struct norm_call {
  std::vector<float> in = std::vector<float>(500, 0.5f);
  std::vector<float> out = std::vector<float>(500, untouched);
  std::vector<float> more = std::vector<float>(500, 2.0f);
  std::vector<std::int32_t> whole = std::vector<std::int32_t>(500, 1);
  tensor_view<float, 4> x = seqmix::view(in.data(), B, T, H, D);
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, D);
  seqmix::output_norm_options options{.kind = output_norm_kind::srms};
  seqmix::context ctx{};
  norm_call() {
    options.weight = seqmix::view(more.data(), H, D);
    options.bias = seqmix::view(more.data(), 1, D);
    options.gate = seqmix::view(more.data(), B, T, H, D);
    options.gate_by = output_gate::plain;
  }
  norm_call(const norm_call&) = delete;

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f) && more == std::vector<float>(500, 2.0f);
  }
};

constexpr seqmix_test::row_refusals<norm_call, seqmix::output_norm, seqmix::output_norm_inplace,
                                    seqmix::naive_output_norm>
    refuses{"output_norm"};

}  // namespace

TEST_CASE("sound norms run", "[output_norm][errors]") {
  norm_call c;
  seqmix::output_norm(c.x, c.o, c.options);
  CHECK(c.out[0] == 8.0f);  // (1 * 2 + 2) * 2
  seqmix::output_norm_inplace(c.x, c.options);
  CHECK(c.in[0] == 8.0f);
  norm_call empty;
  empty.options.gate = {};
  seqmix::output_norm(empty.x.slice(1, 0, 0), empty.o.slice(1, 0, 0), empty.options);
  CHECK(empty.wrote_nothing());
}

TEST_CASE("norms without a kind, or with a bad eps, are refused", "[output_norm][errors]") {
  refuses.both("options.kind", "rms, layer_norm, srms or l2", "none",
               [](norm_call& c) { c.options.kind = output_norm_kind::unspecified; });
  refuses.both("options.kind", "rms, layer_norm, srms or l2", "another value",
               [](norm_call& c) { c.options.kind = static_cast<output_norm_kind>(9); });
  for (const double eps :
       {-1e-6, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    refuses.both("options.eps", "a number of at least 0", std::to_string(eps),
                 [&](norm_call& c) { c.options.eps = eps; });
  }
  refuses.both("options.eps", "a positive number, as options.kind is layer_norm", "0",
               [](norm_call& c) {
                 c.options.kind = output_norm_kind::layer_norm;
                 c.options.eps = 0;
               });
}

TEST_CASE("norms of shapes that do not match are refused", "[output_norm][errors]") {
  refuses("o", "[B, T, H, D] = [2, 3, 4, 6]", "[2, 3, 4, 4]",
          [](norm_call& c) { c.o = c.o.slice(3, 0, 4); });
  refuses("x", "extents of at least 0", "[2, 3, -4, 6]",
          [](norm_call& c) { c.x = c.x.slice(2, 0, -4); });
  const std::string vectors = "[H, D] = [4, 6], or 1 in place of an extent";
  refuses.both("options.weight", vectors, "[6, 4]",
               [](norm_call& c) { c.options.weight = seqmix::view(c.more.data(), D, H); });
  refuses.both("options.weight", vectors, "[6, 1]",
               [](norm_call& c) { c.options.weight = seqmix::view(c.more.data(), D, 1); });
  refuses.both("options.weight", vectors, "[1, 24]",
               [](norm_call& c) { c.options.weight = seqmix::view(c.more.data(), 1, H * D); });
  refuses.both("options.bias", vectors, "[4, 5]",
               [](norm_call& c) { c.options.bias = seqmix::view(c.more.data(), H, 5); });
  refuses.both("options.bias", "extents of at least 0", "[-1, 6]",
               [](norm_call& c) { c.options.bias = seqmix::view(c.more.data(), -1, D); });
  refuses.both("options.gate", "[B, T, H, D] = [2, 3, 4, 6]", "[2, 3, 1, 6]",
               [](norm_call& c) { c.options.gate = seqmix::view(c.more.data(), B, T, 1, D); });
}

TEST_CASE("norms of integers are refused", "[output_norm][errors]") {
  const std::string real = "element type f32, f64, f16 or bf16";
  refuses.both("options.weight", real, "i32",
               [](norm_call& c) { c.options.weight = seqmix::view(c.whole.data(), H, D); });
  refuses.both("options.bias", real, "i32",
               [](norm_call& c) { c.options.bias = seqmix::view(c.whole.data(), H, D); });
  refuses.both("options.gate", real, "i32",
               [](norm_call& c) { c.options.gate = seqmix::view(c.whole.data(), B, T, H, D); });
}

TEST_CASE("gates that do not fit gate_by are refused", "[output_norm][errors]") {
  refuses.both("options.gate", "no value (options.gate_by is none)", "a value",
               [](norm_call& c) { c.options.gate_by = output_gate::none; });
  refuses.both("options.gate", "a gate [B, T, H, D], as options.gate_by is given", "none",
               [](norm_call& c) { c.options.gate = {}; });
  refuses.both("options.gate_by", "none, plain, sigmoid or silu", "another value",
               [](norm_call& c) { c.options.gate_by = static_cast<output_gate>(-1); });
}

TEST_CASE("places of gates that are not there are refused", "[output_norm][errors]") {
  refuses.both("options.gate_place", "no value (options.gate_by is none)", "a value",
               [](norm_call& c) {
                 c.options.gate = {};
                 c.options.gate_by = output_gate::none;
                 c.options.gate_place = seqmix::output_gate_place::before_norm;
               });
  refuses.both(
      "options.gate_place", "after_norm or before_norm", "another value",
      [](norm_call& c) { c.options.gate_place = static_cast<seqmix::output_gate_place>(7); });
}

TEST_CASE("norms of null data, or over each other, are refused", "[output_norm][errors]") {
  refuses("x", "data for shape", "a null pointer",
          [](norm_call& c) { c.x = {nullptr, {B, T, H, D}}; });
  refuses("o", "data for shape", "a null pointer",
          [](norm_call& c) { c.o = {nullptr, {B, T, H, D}}; });
  refuses.both("options.weight", "data for shape", "a null pointer",
               [](norm_call& c) { c.options.weight = tensor_view<float, 2>{nullptr, {H, D}}; });
  refuses.both("options.gate", "data for shape", "a null pointer",
               [](norm_call& c) { c.options.gate = tensor_view<float, 4>{nullptr, {B, T, H, D}}; });
  refuses("o", "memory apart from x's", "overlapping memory", [](norm_call& c) { c.o = c.x; });
  refuses("o", "memory apart from options.gate's", "overlapping memory",
          [](norm_call& c) { c.options.gate = c.o; });
  refuses("o", "memory apart from options.weight's", "overlapping memory",
          [](norm_call& c) { c.options.weight = seqmix::view(c.out.data() + 3, 1, D); });
  refuses("o", "memory apart from options.bias's", "overlapping memory",
          [](norm_call& c) { c.options.bias = seqmix::view(c.out.data() + 3, H, 1); });
  refuses.inplace("o", "memory apart from options.gate's", "overlapping memory",
                  [](norm_call& c) { c.options.gate = c.x; });
  refuses("o", "one address for each element", "share memory", [](norm_call& c) {
    c.o = {c.out.data(), {B, T, H, D}, {T * H * D, std::int64_t{0}, D, std::int64_t{1}}};
  });
  refuses.inplace("o", "one address for each element", "share memory", [](norm_call& c) {
    c.x = {c.in.data(), {B, T, H, D}, {std::int64_t{0}, H * D, D, std::int64_t{1}}};
  });
  refuses("o", "host memory, as x", "memory of cuda:0",
          [](norm_call& c) { c.o = {c.o.data_handle(), {B, T, H, D}, gpu}; });
  refuses.both("options.weight", "host memory, as x", "memory of cuda:0", [](norm_call& c) {
    c.options.weight = tensor_view<float, 2>{c.more.data(), {H, D}, gpu};
  });
  refuses.both("options.gate", "host memory, as x", "memory of cuda:0", [](norm_call& c) {
    c.options.gate = tensor_view<float, 4>{c.more.data(), {B, T, H, D}, gpu};
  });
}

TEST_CASE("norms without a place to run are refused", "[output_norm][errors]") {
  refuses.without_a_place();
}
