// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <limits>
#include <seqmix/ops/rope/rope.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/row_refusals.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::rope_axes;
using seqmix::rope_layout;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 3, H = 4, D = 6;
constexpr device gpu{device_kind::cuda, 0};

struct rotation {
  std::vector<float> in = std::vector<float>(500, 0.5f);
  std::vector<float> out = std::vector<float>(500, untouched);
  std::vector<std::int32_t> places = std::vector<std::int32_t>(10, 0);
  tensor_view<float, 4> x = seqmix::view(in.data(), B, T, H, D);
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, D);
  seqmix::rope_options options{.layout = rope_layout::half_split};
  seqmix::context ctx{};
  rotation() { options.positions = seqmix::view(places.data(), B, T); }
  rotation(const rotation&) = delete;

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f);
  }
};

constexpr seqmix_test::row_refusals<rotation, seqmix::rope, seqmix::rope_inplace,
                                    seqmix::naive_rope>
    refuses{"rope"};

}  // namespace

TEST_CASE("sound rotations run", "[rope][errors]") {
  rotation c;
  seqmix::rope(c.x, c.o, c.options);
  CHECK(c.out[0] == 0.5f);
  seqmix::rope_inplace(c.x, c.options);
  CHECK(c.in[0] == 0.5f);
}

TEST_CASE("rotations of shapes that do not match are refused", "[rope][errors]") {
  refuses("o", "[B, T, H, D] = [2, 3, 4, 6]", "[2, 3, 4, 4]",
          [](rotation& c) { c.o = c.o.slice(3, 0, 4); });
  refuses("o", "[2, 3, 4, 6]", "[2, 2, 4, 6]", [](rotation& c) { c.o = c.o.slice(1, 0, 2); });
  refuses("x", "extents of at least 0", "[2, 3, -4, 6]",
          [](rotation& c) { c.x = c.x.slice(2, 0, -4); });
  refuses.both("options.positions", "[B, T] = [2, 3]", "[3, 2]",
               [](rotation& c) { c.options.positions = seqmix::view(c.places.data(), T, B); });
  refuses.both("options.positions", "element type i32 or i64", "f32",
               [](rotation& c) { c.options.positions = seqmix::view(c.in.data() + 200, B, T); });
}

TEST_CASE("rotations without a layout, or out of range, are refused", "[rope][errors]") {
  refuses.both("options.layout", "interleaved or half_split", "none",
               [](rotation& c) { c.options.layout = rope_layout::unspecified; });
  refuses.both("options.base", "a positive number", "0", [](rotation& c) { c.options.base = 0; });
  refuses.both("options.base", "a positive number", "-1", [](rotation& c) { c.options.base = -1; });
  refuses.both("options.base", "a positive number", "nan",
               [](rotation& c) { c.options.base = std::numeric_limits<double>::quiet_NaN(); });
  refuses.both("options.base", "a positive number", "inf",
               [](rotation& c) { c.options.base = std::numeric_limits<double>::infinity(); });
  refuses.both("options.rotary_dims", "an even number of channels", "3",
               [](rotation& c) { c.options.rotary_dims = 3; });
  refuses.both("options.rotary_dims", "0 to 6", "8",
               [](rotation& c) { c.options.rotary_dims = 8; });
  refuses.both("options.rotary_dims", "0 to 6", "-2",
               [](rotation& c) { c.options.rotary_dims = -2; });
  refuses("options.rotary_dims", "an even number of channels", "5", [](rotation& c) {
    c.x = c.x.slice(3, 0, 5);
    c.o = c.o.slice(3, 0, 5);
  });
}

TEST_CASE("second positions that do not fit the axes are refused", "[rope][errors]") {
  const auto give = [](rotation& c, rope_axes axes) {
    c.options.axes = axes;
    c.options.rotary_dims = 4;
    c.options.second_positions = seqmix::view(c.places.data(), B, T);
  };
  refuses.both("options.second_positions", "no value (options.axes is one)", "a value",
               [&](rotation& c) { give(c, rope_axes::one); });
  refuses.both("options.second_base", "no value (options.axes is one)", "a value",
               [](rotation& c) { c.options.second_base = 100; });
  refuses.both("options.axes", "one, split or sum", "7",
               [&](rotation& c) { give(c, static_cast<rope_axes>(7)); });
  refuses.both("options.rotary_dims", "a multiple of 4, as options.axes is split", "6",
               [&](rotation& c) {
                 give(c, rope_axes::split);
                 c.options.rotary_dims = 0;
               });
  refuses.both("options.rotary_dims", "a multiple of 4, as options.axes is split", "2",
               [&](rotation& c) {
                 give(c, rope_axes::split);
                 c.options.rotary_dims = 2;
               });
  for (const rope_axes axes : {rope_axes::split, rope_axes::sum}) {
    const auto refuses_given = [&](const char* argument, const std::string& expected,
                                   const std::string& actual,
                                   const std::function<void(rotation&)>& fault) {
      refuses.both(argument, expected, actual, [&](rotation& c) {
        give(c, axes);
        fault(c);
      });
    };
    refuses_given("options.second_positions", "positions [B, T], as options.axes is split or sum",
                  "none", [](rotation& c) { c.options.second_positions = {}; });
    refuses_given("options.second_positions", "[B, T] = [2, 3]", "[3, 2]", [](rotation& c) {
      c.options.second_positions = seqmix::view(c.places.data(), T, B);
    });
    refuses_given("options.second_positions", "element type i32 or i64", "f32", [](rotation& c) {
      c.options.second_positions = seqmix::view(c.in.data() + 200, B, T);
    });
    refuses_given("options.second_positions", "data for shape", "a null pointer", [](rotation& c) {
      c.options.second_positions = tensor_view<std::int64_t, 2>{nullptr, {B, T}};
    });
    refuses_given(
        "options.second_positions", "host memory, as x", "memory of cuda:0", [](rotation& c) {
          c.options.second_positions = tensor_view<std::int32_t, 2>{c.places.data(), {B, T}, gpu};
        });
    for (const double base : {-1.0, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
      refuses_given("options.second_base", "a positive number, or 0", std::to_string(base),
                    [&](rotation& c) { c.options.second_base = base; });
    }
    rotation sound;
    give(sound, axes);
    seqmix::rope(sound.x, sound.o, sound.options);
    CHECK(sound.out[0] == 0.5f);
    // No token has no position.
    rotation empty;
    empty.options = {.layout = rope_layout::half_split, .rotary_dims = 4, .axes = axes};
    seqmix::rope(empty.x.slice(1, 0, 0), empty.o.slice(1, 0, 0), empty.options);
    CHECK(empty.wrote_nothing());
  }
}

TEST_CASE("rotations of null data, or over each other, are refused", "[rope][errors]") {
  refuses("x", "data for shape", "a null pointer",
          [](rotation& c) { c.x = {nullptr, {B, T, H, D}}; });
  refuses("o", "data for shape", "a null pointer",
          [](rotation& c) { c.o = {nullptr, {B, T, H, D}}; });
  refuses.both("options.positions", "data for shape", "a null pointer", [](rotation& c) {
    c.options.positions = tensor_view<std::int64_t, 2>{nullptr, {B, T}};
  });
  refuses("o", "memory apart from x's", "overlapping memory", [](rotation& c) { c.o = c.x; });
  refuses("o", "memory apart from x's", "overlapping memory",
          [](rotation& c) { c.o = seqmix::view(c.in.data() + 143, B, T, H, D); });
  refuses("o", "one address for each element", "share memory", [](rotation& c) {
    c.o = {c.out.data(), {B, T, H, D}, {T * H * D, std::int64_t{0}, D, std::int64_t{1}}};
  });
  refuses.inplace("o", "one address for each element", "share memory", [](rotation& c) {
    c.x = {c.in.data(), {B, T, H, D}, {std::int64_t{0}, H * D, D, std::int64_t{1}}};
  });
  refuses("o", "host memory, as x", "memory of cuda:0",
          [](rotation& c) { c.o = {c.o.data_handle(), {B, T, H, D}, gpu}; });
  refuses.both("options.positions", "host memory, as x", "memory of cuda:0", [](rotation& c) {
    c.options.positions = tensor_view<std::int32_t, 2>{c.places.data(), {B, T}, gpu};
  });
}

TEST_CASE("rotations without a place to run are refused", "[rope][errors]") {
  refuses.without_a_place();
}
