// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/kernels/selective_scan.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 3, D = 6, N = 5, G = 2;
constexpr device gpu{device_kind::cuda, 0};

struct scan_call {
  std::vector<float> in = std::vector<float>(1000, 0.5f);
  std::vector<float> out = std::vector<float>(1000, untouched);
  std::vector<float> states = std::vector<float>(1000, untouched);
  std::vector<std::int32_t> whole = std::vector<std::int32_t>(1000, 1);
  tensor_view<float, 3> u = seqmix::view(in.data(), B, T, D);
  tensor_view<float, 3> delta = u;
  tensor_view<float, 3> y = seqmix::view(out.data(), B, T, D);
  tensor_view<float, 2> A = seqmix::view(in.data(), D, N);
  tensor_view<float, 4> b = seqmix::view(in.data(), B, T, G, N);
  tensor_view<float, 4> c = b;
  seqmix::selective_scan_options options{};
  seqmix::context ctx{};
  scan_call() {
    options.D = seqmix::view(in.data(), D);
    options.delta_bias = seqmix::view(in.data(), D);
    options.z = u;
    options.initial_state = seqmix::view(in.data(), B, D, N);
    options.final_state = seqmix::view(states.data(), B, D, N);
  }
  scan_call(const scan_call&) = delete;

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           states == std::vector<float>(states.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f);
  }
};

void refused(const char* argument, const std::string& expected, const std::string& actual,
             const std::function<void(scan_call&)>& break_it) {
  scan_call c;
  break_it(c);
  CAPTURE(argument, expected, actual);
  const auto call = [&](const auto& f) {
    return error_of([&] { f(c.u, c.delta, c.A, c.b, c.c, c.y, c.options, c.ctx); });
  };
  for (const seqmix::error& e :
       {call(seqmix::selective_scan), call(seqmix::selective_scan.explain),
        call(seqmix::selective_scan.workspace_bytes), call(seqmix::naive_selective_scan)}) {
    check_error(e, "selective_scan", argument, expected, actual);
    CHECK(c.wrote_nothing());
  }
}

}  // namespace

TEST_CASE("sound scans run", "[selective_scan][errors]") {
  scan_call c;
  seqmix::selective_scan(c.u, c.delta, c.A, c.b, c.c, c.y, c.options);
  CHECK(c.out[0] != untouched);
  CHECK(c.states[0] != untouched);
  scan_call empty;
  seqmix::selective_scan(empty.u.slice(0, 0, 0), empty.u.slice(0, 0, 0), empty.A,
                         empty.b.slice(0, 0, 0), empty.c.slice(0, 0, 0), empty.y.slice(0, 0, 0));
  CHECK(empty.wrote_nothing());
}

TEST_CASE("scans of shapes that do not match are refused", "[selective_scan][errors]") {
  refused("delta", "[B, T, D] = [2, 3, 6]", "[2, 2, 6]",
          [](scan_call& c) { c.delta = c.delta.slice(1, 0, 2); });
  refused("y", "[B, T, D] = [2, 3, 6]", "[2, 3, 5]",
          [](scan_call& c) { c.y = c.y.slice(2, 0, 5); });
  refused("A", "[D, N, parts] = [6, 5, 1]", "[4, 5, 1]",
          [](scan_call& c) { c.A = c.A.slice(0, 0, 4); });
  refused("A.extent(N)", "1 to 256", "0", [](scan_call& c) { c.A = c.A.slice(1, 0, 0); });
  refused("A.extent(N)", "1 to 256", "257", [](scan_call& c) {
    c.A = {c.in.data(), {D, std::int64_t{257}}, {std::int64_t{0}, std::int64_t{0}}};
  });
  refused("B", "[B, T, G, N, parts] = [2, 3, 2, 5, 1]", "[2, 3, 2, 4, 1]",
          [](scan_call& c) { c.b = c.b.slice(3, 0, 4); });
  refused("B", "groups that divides D = 6", "4",
          [](scan_call& c) { c.b = seqmix::view(c.in.data(), B, T, 4, N); });
  refused("B", "groups that divides D = 6", "0", [](scan_call& c) { c.b = c.b.slice(2, 0, 0); });
  refused("C", "as many groups as B", "1", [](scan_call& c) { c.c = c.c.slice(2, 0, 1); });
  refused("options.D", "[D] = [6]", "[5]",
          [](scan_call& c) { c.options.D = seqmix::view(c.in.data(), 5); });
  refused("options.delta_bias", "[D] = [6]", "[7]",
          [](scan_call& c) { c.options.delta_bias = seqmix::view(c.in.data(), 7); });
  refused("options.z", "[B, T, D] = [2, 3, 6]", "[1, 6, 6]",
          [](scan_call& c) { c.options.z = seqmix::view(c.in.data(), 6, 6); });
  refused("options.initial_state", "[NS, D, N, parts] = [2, 6, 5, 1]", "[2, 6, 5, 2]",
          [](scan_call& c) { c.options.initial_state = seqmix::view(c.in.data(), B, D, N, 2); });
  refused("options.final_state", "[NS, D, N, parts] = [2, 6, 5, 1]", "[3, 6, 5, 1]",
          [](scan_call& c) { c.options.final_state = seqmix::view(c.states.data(), 3, D, N); });
  refused("options.varlen", "only with packed tensors", "a value",
          [](scan_call& c) { c.options.varlen.offsets = seqmix::view(c.whole.data(), 3); });
}

TEST_CASE("packed scans without sound offsets are refused", "[selective_scan][errors]") {
  scan_call c;
  const std::int32_t falling[] = {0, 4, 2, 6};
  c.options.varlen.offsets = seqmix::view(falling, 4);
  const auto u = seqmix::view(c.in.data(), B * T, D);
  const auto rows = seqmix::view(c.in.data(), B * T, G, N);
  const auto y = seqmix::view(c.out.data(), B * T, D);
  const auto call = [&] { seqmix::selective_scan(u, u, c.A, rows, rows, y, c.options); };
  c.options.z = u;
  c.options.initial_state = {};
  c.options.final_state = {};
  check_error(error_of(call), "selective_scan", "options.varlen.offsets", "never fall", "entry 2");
  c.options.varlen.offsets = {};
  check_error(error_of(call), "selective_scan", "options.varlen.offsets", "at least 1 entries",
              "0");
  CHECK(c.wrote_nothing());
}

TEST_CASE("scans of integers, null data and device memory are refused",
          "[selective_scan][errors]") {
  refused("options.D", "element type f32, f64, f16 or bf16", "i32",
          [](scan_call& c) { c.options.D = seqmix::view(c.whole.data(), D); });
  refused("options.initial_state", "element type f32, f64, f16 or bf16", "i32",
          [](scan_call& c) { c.options.initial_state = seqmix::view(c.whole.data(), B, D, N); });
  refused("u", "data for shape", "a null pointer",
          [](scan_call& c) { c.u = {nullptr, {B, T, D}}; });
  refused("B", "data for shape", "a null pointer",
          [](scan_call& c) { c.b = {nullptr, {B, T, G, N}}; });
  refused("delta", "host memory, as u", "memory of cuda:0",
          [](scan_call& c) { c.delta = {c.in.data(), {B, T, D}, gpu}; });
  refused("options.z", "host memory, as u", "memory of cuda:0",
          [](scan_call& c) { c.options.z = tensor_view<float, 3>{c.in.data(), {B, T, D}, gpu}; });
}

TEST_CASE("scans over their own inputs are refused", "[selective_scan][errors]") {
  refused("y", "memory apart from u's", "overlapping memory", [](scan_call& c) { c.y = c.u; });
  refused("y", "memory apart from options.z's", "overlapping memory",
          [](scan_call& c) { c.options.z = c.y; });
  refused("y", "memory apart from options.delta_bias's", "overlapping memory",
          [](scan_call& c) { c.options.delta_bias = seqmix::view(c.out.data(), D); });
  refused("y", "one address for each element", "share memory", [](scan_call& c) {
    c.y = {c.out.data(), {B, T, D}, {std::int64_t{0}, D, std::int64_t{1}}};
  });
  refused("options.final_state", "memory apart from u's", "overlapping memory", [](scan_call& c) {
    c.options.final_state = seqmix::view(c.in.data() + 500, B, D, N);
    c.u = seqmix::view(c.in.data() + 480, B, T, D);
  });
  refused(
      "options.final_state", "memory apart from options.initial_state's", "overlapping memory",
      [](scan_call& c) { c.options.initial_state = seqmix::view(c.states.data() + 5, B, D, N); });
}

TEST_CASE("slots that no scan could have are refused", "[selective_scan][errors]") {
  static const std::int32_t slots[] = {0, 2, 1, 1, -2, 0};
  refused("options.initial_slots", "entries of a pool of 2", "entry 1 = 2",
          [](scan_call& c) { c.options.initial_slots = seqmix::view(slots, 2); });
  refused("options.initial_slots", "-1, or entries", "entry 0 = -2",
          [](scan_call& c) { c.options.initial_slots = seqmix::view(slots + 4, 2); });
  refused("options.initial_slots", "each entry of the pool at most once", "entries 0 and 1 = 1",
          [](scan_call& c) { c.options.initial_slots = seqmix::view(slots + 2, 2); });
  refused("options.final_slots", "no value (there is no final state)", "a value", [](scan_call& c) {
    c.options.final_state = {};
    c.options.final_slots = seqmix::view(slots, 2);
  });
  refused("options.initial_slots", "no value (there is no state", "a value", [](scan_call& c) {
    c.options.initial_state = {};
    c.options.final_state = {};
    c.options.initial_slots = seqmix::view(slots, 2);
  });
}

TEST_CASE("scans without a place to run are refused", "[selective_scan][errors]") {
  scan_call c;
  check_no_place(c.ctx, [&] {
    const seqmix::error e = error_of(
        [&] { seqmix::selective_scan(c.u, c.delta, c.A, c.b, c.c, c.y, c.options, c.ctx); });
    CHECK(e.operator_name() == "selective_scan");
    CHECK(c.wrote_nothing());
    return e;
  });
}
