// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 5, D = 6, W = 4, L = 3;
constexpr device gpu{device_kind::cuda, 0};

struct conv_call {
  std::vector<float> in = std::vector<float>(500, 0.5f);
  std::vector<float> out = std::vector<float>(500, untouched);
  std::vector<float> more = std::vector<float>(500, 2.0f);
  std::vector<float> memory = std::vector<float>(500, untouched);
  std::vector<std::int32_t> whole = std::vector<std::int32_t>(500, 1);
  tensor_view<float, 3> x = seqmix::view(in.data(), B, T, D);
  tensor_view<float, 2> weight = seqmix::view(more.data(), D, W);
  tensor_view<float, 3> y = seqmix::view(out.data(), B, T, D);
  tensor_view<float, 3> state = seqmix::view(memory.data(), B, D, L);
  seqmix::causal_conv1d_options options{};
  seqmix::context ctx{};
  conv_call() { options.bias = seqmix::view(more.data(), D); }
  conv_call(const conv_call&) = delete;

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           memory == std::vector<float>(memory.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f) && more == std::vector<float>(500, 2.0f);
  }
};

using fault = std::function<void(conv_call&)>;

void check_all(const conv_call& c, const char* name, const char* argument,
               const std::string& expected, const std::string& actual,
               const std::vector<seqmix::error>& errors) {
  CAPTURE(argument, expected, actual);
  for (const seqmix::error& e : errors) {
    check_error(e, name, argument, expected, actual);
    CHECK(c.wrote_nothing());
  }
}

/// By causal_conv1d, the call in full with states apart.
void refuses(const char* argument, const std::string& expected, const std::string& actual,
             const fault& break_it) {
  conv_call c;
  c.options.final_state = c.state;
  break_it(c);
  check_all(c, "causal_conv1d", argument, expected, actual,
            {error_of([&] { seqmix::causal_conv1d(c.x, c.weight, c.y, c.options, c.ctx); }),
             error_of([&] { seqmix::causal_conv1d.explain(c.x, c.weight, c.y, c.options, c.ctx); }),
             error_of([&] {
               seqmix::causal_conv1d.workspace_bytes(c.x, c.weight, c.y, c.options, c.ctx);
             }),
             error_of([&] { seqmix::naive_causal_conv1d(c.x, c.weight, c.y, c.options); })});
}

void refuses_update(const char* argument, const std::string& expected, const std::string& actual,
                    const fault& break_it) {
  conv_call c;
  break_it(c);
  const auto& op = seqmix::causal_conv1d_update;
  check_all(c, "causal_conv1d_update", argument, expected, actual,
            {error_of([&] { op(c.x, c.weight, c.y, c.state, c.options, c.ctx); }),
             error_of([&] { op.explain(c.x, c.weight, c.y, c.state, c.options, c.ctx); }),
             error_of([&] { op.workspace_bytes(c.x, c.weight, c.y, c.state, c.options, c.ctx); }),
             error_of([&] {
               seqmix::naive_causal_conv1d_update(c.x, c.weight, c.y, c.state, c.options);
             })});
}

void both_refuse(const char* argument, const std::string& expected, const std::string& actual,
                 const fault& break_it) {
  refuses(argument, expected, actual, break_it);
  refuses_update(argument, expected, actual, break_it);
}

}  // namespace

TEST_CASE("sound convolutions run", "[causal_conv1d][errors]") {
  conv_call c;
  seqmix::causal_conv1d(c.x, c.weight, c.y, c.options);
  CHECK(c.out[0] == 3.0f);
  CHECK(c.out[3 * D] == 6.0f);
  conv_call empty;
  seqmix::causal_conv1d(empty.x.slice(1, 0, 0), empty.weight, empty.y.slice(1, 0, 0));
  seqmix::causal_conv1d(empty.x.slice(2, 0, 0), empty.weight.slice(0, 0, 0),
                        empty.y.slice(2, 0, 0));
  CHECK(empty.wrote_nothing());
}

TEST_CASE("convolutions of shapes that do not match are refused", "[causal_conv1d][errors]") {
  both_refuse("y", "[B, T, D] = [2, 5, 6]", "[2, 5, 4]",
              [](conv_call& c) { c.y = c.y.slice(2, 0, 4); });
  both_refuse("x", "extents of at least 0", "[2, -5, 6]",
              [](conv_call& c) { c.x = c.x.slice(1, 0, -5); });
  both_refuse("weight", "[D, W] = [6, 4]", "[5, 4]",
              [](conv_call& c) { c.weight = c.weight.slice(0, 0, 5); });
  both_refuse("weight.extent(W)", "1 to 64", "0",
              [](conv_call& c) { c.weight = c.weight.slice(1, 0, 0); });
  both_refuse("weight.extent(W)", "1 to 64", "65",
              [](conv_call& c) { c.weight = seqmix::view(c.more.data(), D, 65); });
  both_refuse("options.bias", "[D] = [6]", "[5]",
              [](conv_call& c) { c.options.bias = seqmix::view(c.more.data(), 5); });
  both_refuse("options.bias", "element type f32, f64, f16 or bf16", "i32",
              [](conv_call& c) { c.options.bias = seqmix::view(c.whole.data(), D); });
  both_refuse("options.activation", "none or silu", "7",
              [](conv_call& c) { c.options.activation = static_cast<seqmix::conv_activation>(7); });
  both_refuse("options.varlen", "only with packed tensors", "a value",
              [](conv_call& c) { c.options.varlen.offsets = seqmix::view(c.whole.data(), 3); });
}

TEST_CASE("packed convolutions with bad offsets are refused", "[causal_conv1d][errors]") {
  const auto check = [](const char* expected, const std::vector<std::int64_t>& offsets,
                        std::int64_t max_t) {
    conv_call c;
    seqmix::causal_conv1d_options options;
    options.varlen = {seqmix::view(offsets.data(), offsets.size()), max_t};
    const auto x = seqmix::view(c.in.data(), 10, D);
    const auto y = seqmix::view(c.out.data(), 10, D);
    const seqmix::error e = error_of([&] { seqmix::causal_conv1d(x, c.weight, y, options); });
    check_error(e, "causal_conv1d", "options.varlen.offsets", expected, "");
    CHECK(c.wrote_nothing());
  };
  check("at least 1 entries", {}, 0);
  check("end at or below 10", {0, 11}, 0);
  check("never fall", {0, 5, 4}, 0);
  check("offsets from 0", {1, 5}, 0);
  check("step by at most 3", {0, 4}, 3);
}

TEST_CASE("states of convolutions that do not fit are refused", "[causal_conv1d][errors]") {
  const std::string least = "at least W - 1 inputs for each channel";
  refuses("options.final_state", least, "2",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.memory.data(), B, D, 2); });
  refuses("options.initial_state", least, "1",
          [](conv_call& c) { c.options.initial_state = seqmix::view(c.more.data(), B, D, 1); });
  refuses("options.final_state", "[N, D, L] = [2, 6, 3]", "[3, 6, 3]",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.memory.data(), 3, D, L); });
  refuses("options.final_state", "[N, D, L] = [2, 6, 5]", "[2, 6, 3]",
          [](conv_call& c) { c.options.initial_state = seqmix::view(c.more.data(), B, D, 5); });
  refuses("options.final_state", "one address for each element", "share memory", [](conv_call& c) {
    c.options.final_state =
        tensor_view<float, 3>{c.memory.data(), {B, D, L}, {std::int64_t{0}, L, std::int64_t{1}}};
  });
  refuses("options.final_state", "element type f32, f64, f16 or bf16", "i32",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.whole.data(), B, D, L); });
  refuses(
      "options.final_state", "memory apart from options.initial_state's", "overlapping",
      [](conv_call& c) { c.options.initial_state = seqmix::view(c.memory.data() + 1, B, D, L); });
  refuses("y", "memory apart from options.final_state's", "overlapping",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.out.data(), B, D, L); });
  refuses("y", "memory apart from options.initial_state's", "overlapping",
          [](conv_call& c) { c.options.initial_state = seqmix::view(c.out.data(), B, D, L); });
  refuses("options.final_state", "memory apart from x's", "overlapping",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.in.data(), B, D, L); });
  refuses("options.final_state", "memory apart from weight's", "overlapping",
          [](conv_call& c) { c.options.final_state = seqmix::view(c.more.data(), B, D, L); });
  refuses_update("state", "at least W - 1", "2",
                 [](conv_call& c) { c.state = c.state.slice(2, 0, 2); });
  refuses_update("state", "[N, D, L] = [2, 6, 3]", "[1, 6, 3]",
                 [](conv_call& c) { c.state = c.state.slice(0, 0, 1); });
  refuses_update("options.initial_state", "it is the argument state", "a value",
                 [](conv_call& c) { c.options.initial_state = c.state; });
  refuses_update("options.final_state", "it is the argument state", "a value",
                 [](conv_call& c) { c.options.final_state = c.state; });
  refuses_update("options.final_slots", "states are updated in place", "a value",
                 [](conv_call& c) { c.options.final_slots = seqmix::view(c.whole.data(), B); });
}

TEST_CASE("bad slots and positions of convolutions are refused", "[causal_conv1d][errors]") {
  const auto slots = [](conv_call& c, std::int32_t first, std::int32_t second) {
    c.whole = {first, second};
    c.options.initial_slots = seqmix::view(c.whole.data(), 2);
  };
  both_refuse("options.initial_slots", "-1, or entries of a pool of 2", "entry 1 = 2",
              [&](conv_call& c) { slots(c, 0, 2); });
  both_refuse("options.initial_slots", "-1, or entries of a pool of 2", "entry 0 = -2",
              [&](conv_call& c) { slots(c, -2, 1); });
  both_refuse("options.initial_slots", "each entry of the pool at most once", "entries 0 and 1 = 1",
              [&](conv_call& c) { slots(c, 1, 1); });
  both_refuse("options.initial_slots", "2 entries", "3",
              [](conv_call& c) { c.options.initial_slots = seqmix::view(c.whole.data(), 3); });
  refuses("options.initial_slots", "no value (there is no state", "a value", [&](conv_call& c) {
    c.options.final_state = {};
    slots(c, 0, 1);
  });
  refuses("options.final_slots", "no value (there is no final state)", "a value", [](conv_call& c) {
    c.options.final_state = {};
    c.options.final_slots = seqmix::view(c.whole.data(), 2);
  });
  both_refuse("options.state_positions", "positions of at least 0", "-1", [](conv_call& c) {
    c.whole = {3, -1};
    c.options.state_positions = seqmix::view(c.whole.data(), 2);
  });
  both_refuse("options.state_positions", "2 entries", "4",
              [](conv_call& c) { c.options.state_positions = seqmix::view(c.whole.data(), 4); });
  both_refuse("options.state_positions", "element type i32 or i64", "f32",
              [](conv_call& c) { c.options.state_positions = seqmix::view(c.more.data(), 2); });
  refuses("options.state_positions", "there is no state", "a value", [](conv_call& c) {
    c.options.final_state = {};
    c.options.state_positions = seqmix::view(c.whole.data(), 2);
  });
}

TEST_CASE("slots that meet in their remainders are told apart", "[causal_conv1d][errors]") {
  const std::int64_t pool = 3 * 4096;
  std::vector<float> state(static_cast<std::size_t>(pool), 1.0f);
  const std::vector<float> x(3, 2.0f), weight(2, 1.0f);
  std::vector<float> y(3, untouched);
  std::vector<std::int64_t> slots{7, 7 + 4096, 7 + 8192};
  const auto run = [&] {
    seqmix::causal_conv1d_update(seqmix::view(x.data(), 3, 1, 1), seqmix::view(weight.data(), 1, 2),
                                 seqmix::view(y.data(), 3, 1, 1),
                                 seqmix::view(state.data(), pool, 1, 1),
                                 {.initial_slots = seqmix::view(slots.data(), 3)});
  };
  run();
  CHECK(y == std::vector<float>(3, 3.0f));
  slots[2] = 7 + 4096;
  const seqmix::error e = error_of(run);
  check_error(e, "causal_conv1d_update", "options.initial_slots", "at most once",
              "entries 1 and 2 = 4103");
}

TEST_CASE("convolutions of null data, or over each other, are refused", "[causal_conv1d][errors]") {
  both_refuse("x", "data for shape", "a null pointer",
              [](conv_call& c) { c.x = {nullptr, {B, T, D}}; });
  both_refuse("y", "data for shape", "a null pointer",
              [](conv_call& c) { c.y = {nullptr, {B, T, D}}; });
  both_refuse("weight", "data for shape", "a null pointer",
              [](conv_call& c) { c.weight = {nullptr, {D, W}}; });
  both_refuse("y", "memory apart from x's", "overlapping memory", [](conv_call& c) { c.y = c.x; });
  both_refuse("y", "memory apart from weight's", "overlapping memory",
              [](conv_call& c) { c.weight = seqmix::view(c.out.data(), D, W); });
  both_refuse("y", "memory apart from options.bias's", "overlapping memory",
              [](conv_call& c) { c.options.bias = seqmix::view(c.out.data(), D); });
  both_refuse("y", "one address for each element", "share memory", [](conv_call& c) {
    c.y = {c.out.data(), {B, T, D}, {T * D, std::int64_t{0}, std::int64_t{1}}};
  });
  both_refuse("y", "host memory, as x", "memory of cuda:0",
              [](conv_call& c) { c.y = {c.out.data(), {B, T, D}, gpu}; });
  both_refuse("weight", "host memory, as x", "memory of cuda:0",
              [](conv_call& c) { c.weight = {c.more.data(), {D, W}, gpu}; });
  both_refuse("options.bias", "host memory, as x", "memory of cuda:0", [](conv_call& c) {
    c.options.bias = tensor_view<float, 1>{c.more.data(), {D}, gpu};
  });
  refuses("options.final_state", "host memory, as x", "memory of cuda:0", [](conv_call& c) {
    c.options.final_state = tensor_view<float, 3>{c.memory.data(), {B, D, L}, gpu};
  });
}

TEST_CASE("convolutions without a place to run are refused", "[causal_conv1d][errors]") {
  conv_call c;
  check_no_place(c.ctx, [&] {
    const seqmix::error e =
        error_of([&] { seqmix::causal_conv1d(c.x, c.weight, c.y, c.options, c.ctx); });
    CHECK(e.operator_name() == "causal_conv1d");
    CHECK(c.wrote_nothing());
    return e;
  });
}
