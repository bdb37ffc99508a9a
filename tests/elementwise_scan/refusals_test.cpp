// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <seqmix/ops/diagonal_ssm/diagonal_ssm.hpp>
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <seqmix/ops/hgrn/hgrn.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::elementwise_scan;
using seqmix::scan_monoid;
using seqmix::tensor_view;

namespace {

constexpr std::int64_t B = 2, T = 5, D = 6;
constexpr float untouched = -77;
constexpr device gpu{device_kind::cuda, 0};

struct scan_call {
  std::vector<float> in = std::vector<float>(500, 0.5f), out = std::vector<float>(500, untouched),
                     states = std::vector<float>(500, untouched);
  std::vector<std::int32_t> slots{1, 0};
  tensor_view<float, 3> a = seqmix::view(in.data(), B, T, D), b = a,
                        o = seqmix::view(out.data(), B, T, D);
  seqmix::scan_options options{};
  seqmix::context ctx{};
  scan_call() {
    options.initial_state = seqmix::view(states.data() + 100, B, D, 1);
    options.final_state = seqmix::view(states.data(), B, D, 1);
  }
  scan_call(const scan_call&) = delete;

  bool wrote_nothing() const {
    return out == std::vector<float>(500, untouched) && in == std::vector<float>(500, 0.5f) &&
           states == std::vector<float>(500, untouched);
  }
};

void refuses(const char* argument, const std::string& expected, const std::string& actual,
             const std::function<void(scan_call&)>& break_it) {
  CAPTURE(argument, expected, actual);
  scan_call c;
  break_it(c);
  for (const seqmix::error& e :
       {error_of([&] { elementwise_scan(c.a, c.b, c.o, c.options, c.ctx); }),
        error_of([&] { elementwise_scan.explain(c.a, c.b, c.o, c.options, c.ctx); }),
        error_of([&] { elementwise_scan.workspace_bytes(c.a, c.b, c.o, c.options, c.ctx); }),
        error_of([&] { seqmix::naive_elementwise_scan(c.a, c.b, c.o, c.options); })}) {
    check_error(e, "elementwise_scan", argument, expected, actual);
    CHECK(c.wrote_nothing());
  }
}

}  // namespace

TEST_CASE("sound scans run", "[elementwise_scan][errors]") {
  scan_call c;
  c.options.initial_slots = seqmix::view(c.slots.data(), 2);
  elementwise_scan(c.a, c.b, c.o, c.options);
  CHECK(c.out[0] != untouched);
  scan_call none;
  elementwise_scan(none.a.slice(2, 0, 0), none.b.slice(2, 0, 0), none.o.slice(2, 0, 0));
  elementwise_scan(none.a.slice(0, 0, 0), none.b.slice(0, 0, 0), none.o.slice(0, 0, 0));
  CHECK(none.wrote_nothing());
}

TEST_CASE("scans of shapes that do not match are refused", "[elementwise_scan][errors]") {
  refuses("a", "[B, T1, T2, H, D], as o = [2, 1, 5, 1, 6]", "[2, 1, 5, 1, 5]",
          [](scan_call& c) { c.a = c.a.slice(2, 0, 5); });
  refuses("b", "[B, T1, T2, H, D], as o = [2, 1, 5, 1, 6]", "[2, 1, 4, 1, 6]",
          [](scan_call& c) { c.b = c.b.slice(1, 0, 4); });
  refuses("o", "extents of at least 0", "[2, 1, -1, 1, 6]",
          [](scan_call& c) { c.o = c.o.slice(1, 0, -1); });
  refuses("b", "data for shape", "a null pointer",
          [](scan_call& c) { c.b = {nullptr, {B, T, D}}; });
  refuses("options.initial_state", "[N, D, S] = [2, 6, 1]", "[2, 6, 2]", [](scan_call& c) {
    c.options.initial_state = seqmix::view(c.states.data() + 100, B, D, 2);
  });
  refuses("options.final_state", "[N, D, S] = [2, 6, 1]", "[3, 6, 1]",
          [](scan_call& c) { c.options.final_state = seqmix::view(c.states.data(), 3, D, 1); });
}

TEST_CASE("scans over each other's memory are refused", "[elementwise_scan][errors]") {
  refuses("o", "memory apart from b's", "overlapping", [](scan_call& c) { c.b = c.o; });
  refuses("o", "one address for each element", "share memory", [](scan_call& c) {
    c.o = {c.out.data(), {B, T, D}, {T * D, std::int64_t{0}, std::int64_t{1}}};
  });
  refuses("o", "memory apart from options.final_state's", "overlapping",
          [](scan_call& c) { c.options.final_state = seqmix::view(c.out.data() + 3, B, D, 1); });
  refuses("options.final_state", "memory apart from a's", "overlapping",
          [](scan_call& c) { c.options.final_state = seqmix::view(c.in.data() + 3, B, D, 1); });
  refuses(
      "options.final_state", "memory apart from options.initial_state's", "overlapping",
      [](scan_call& c) { c.options.initial_state = seqmix::view(c.states.data() + D, B, D, 1); });
}

TEST_CASE("scans of other devices and slots out of range are refused",
          "[elementwise_scan][errors]") {
  refuses("b", "host memory, as a", "memory of cuda:0",
          [](scan_call& c) { c.b = {c.in.data(), {B, T, D}, gpu}; });
  refuses("o", "host memory, as a", "memory of cuda:0",
          [](scan_call& c) { c.o = {c.out.data(), {B, T, D}, gpu}; });
  refuses("options.initial_slots", "-1, or entries of a pool of 2", "entry 0 = 2",
          [](scan_call& c) {
            c.slots[0] = 2;
            c.options.initial_slots = seqmix::view(c.slots.data(), 2);
          });
  refuses("options.initial_slots", "each entry of the pool at most once", "entries 0 and 1 = 0",
          [](scan_call& c) {
            c.slots[0] = 0;
            c.options.initial_slots = seqmix::view(c.slots.data(), 2);
          });
  refuses("options.initial_slots", "no state", "a value", [](scan_call& c) {
    c.options.initial_slots = seqmix::view(c.slots.data(), 2);
    c.options.initial_state = {};
    c.options.final_state = {};
  });
  refuses("options.varlen", "only with packed tensors", "a value",
          [](scan_call& c) { c.options.varlen.offsets = seqmix::view(c.slots.data(), 2); });
  refuses("options.direction", "forward or reverse", "another value",
          [](scan_call& c) { c.options.direction = static_cast<seqmix::scan_direction>(7); });
}

TEST_CASE("monoids with other inputs, and options of other scans, are refused",
          "[elementwise_scan][errors]") {
  refuses("options.monoid", "affine or affine_complex", "another monoid",
          [](scan_call& c) { c.options.monoid = scan_monoid::max; });
  refuses("a", "linear_gate, as they are complex", "logarithms",
          [](scan_call& c) { c.options.monoid = scan_monoid::affine_complex; });
  refuses("options.tied", "of hgrn only", "a value", [](scan_call& c) { c.options.tied = false; });
  refuses("options.sharpness", "of rg_lru only", "a value",
          [](scan_call& c) { c.options.sharpness = 7; });
  refuses("options.candidates", "of min_gru only", "a value",
          [](scan_call& c) { c.options.candidates = seqmix::min_gru_form::log; });
  refuses("options.step", "of diagonal_ssm only", "a value",
          [](scan_call& c) { c.options.step = seqmix::view(c.in.data(), D); });
  scan_call c;
  check_error(error_of([&] { elementwise_scan(c.a, c.o, {.monoid = scan_monoid::affine}); }),
              "elementwise_scan", "options.monoid", "log_sum_exp, max or sum", "another monoid");
  check_error(error_of([&] {
                elementwise_scan(seqmix::linear_gate(c.a), c.b, c.o,
                                 {.monoid = scan_monoid::affine_complex});
              }),
              "elementwise_scan", "a", "2 as the last extent", "6");
  check_error(error_of([&] { elementwise_scan(seqmix::log2_gate(c.a), c.b, c.o); }),
              "elementwise_scan", "a", "linear_gate", "another encoding");
  const auto deep = seqmix::view(c.in.data(), 1, 2, 5, 3, 2);
  check_error(error_of([&] {
                elementwise_scan(deep, seqmix::view(c.out.data(), 1, 2, 5, 3, 2),
                                 {.monoid = scan_monoid::sum});
              }),
              "elementwise_scan", "rank of tensors", "2 to 4", "5");
  check_error(error_of([&] { seqmix::hgrn(c.a, c.b, c.o, {.exclusive = true}); }), "hgrn",
              "options.exclusive", "of elementwise_scan only", "a value");
  const auto modes = seqmix::view(c.in.data(), D, 3, 2);
  check_error(error_of([&] {
                seqmix::diagonal_ssm(c.a, modes, modes, seqmix::view(c.in.data(), D, 4, 2), c.o);
              }),
              "diagonal_ssm", "c", "[D, N, 2] = [6, 3, 2]", "[6, 4, 2]");
  CHECK(c.wrote_nothing());
}

TEST_CASE("packed scans with offsets that do not fit are refused", "[elementwise_scan][errors]") {
  scan_call c;
  const auto a = seqmix::view(c.in.data(), T, D);
  const auto o = seqmix::view(c.out.data(), T, D);
  for (const std::vector<std::int32_t>& offsets :
       {std::vector<std::int32_t>{1, 5}, {0, 3, 2}, {0, 6}}) {
    const seqmix::scan_options options{
        .varlen = {.offsets = seqmix::view(offsets.data(), offsets.size())}};
    check_error(error_of([&] { elementwise_scan(a, a, o, options); }), "elementwise_scan",
                "options.varlen.offsets", "offsets from 0 that never fall", "entry");
  }
  check_error(error_of([&] { elementwise_scan(a, a, o); }), "elementwise_scan",
              "options.varlen.offsets", "at least 1 entries", "0");
  CHECK(c.wrote_nothing());
}

TEST_CASE("scans without a place to run are refused", "[elementwise_scan][errors]") {
  scan_call c;
  check_no_place(c.ctx, [&] {
    const seqmix::error e = error_of([&] { elementwise_scan(c.a, c.b, c.o, c.options, c.ctx); });
    CHECK(c.wrote_nothing());
    return e;
  });
}
