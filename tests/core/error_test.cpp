// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/checks.hpp>
#include <seqmix/core/error.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

namespace {
struct tag {};
using contract = seqmix::detail::contract<tag>;
using seqmix::any_out;
using seqmix::any_view;
using seqmix::tensor_view;

/// The text of a contract's first violation, without the operator; empty when there is none.
std::string text_of(contract& c) {
  const bool held = c.holds();
  const auto v = c.result();
  REQUIRE(held == !v.has_value());
  return v ? v->argument() + ": " + v->expected() + " / " + v->actual() : "";
}
}  // namespace

TEST_CASE("an error names operator, argument, expected and actual") {
  const seqmix::error e("rope", "x.extent(D)", "an even number", "7");
  CHECK(e.operator_name() == "rope");
  CHECK(e.argument() == "x.extent(D)");
  CHECK(e.expected() == "an even number");
  CHECK(e.actual() == "7");
  CHECK(std::string(e.what()) == "seqmix::rope: x.extent(D): expected an even number, got 7");
  const std::exception& base = e;
  CHECK(std::string(base.what()) == e.what());
  const seqmix::error copy = e;
  CHECK(std::string(copy.what()) == e.what());
}

TEST_CASE("report throws, whatever handler is set") {
  static int calls = 0;
  const auto before = seqmix::set_error_handler([](const seqmix::error&) { ++calls; });
  const auto e = error_of([] { seqmix::detail::report({"op", "a", "b", "c"}); });
  CHECK(e.argument() == "a");
  CHECK(calls == 0);
  auto* const mine = seqmix::set_error_handler(before);
  CHECK(mine != before);
  CHECK(seqmix::set_error_handler(before) == before);
}

TEST_CASE("a contract keeps its first violation") {
  contract c{"op"};
  CHECK(c.holds());
  c.require(true, "a", "b", "c")
      .require(false, "first", "x", "y")
      .require(false, "second", "x", "y");
  CHECK(!c.holds());
  CHECK(text_of(c) == "first: x / y");
}

TEST_CASE("the text of each check") {
  float x[24] = {};
  const any_view<2> good = seqmix::view(x, 2, 3);
  const seqmix::device gpu{seqmix::device_kind::cuda, 2};
  const auto after = [](auto&& check) {
    contract c{"op"};
    check(c);
    return text_of(c);
  };

  CHECK(after([&](contract& c) { c.tensor("q", good); }).empty());
  CHECK(after([&](contract& c) { c.tensor("q", any_view<2>(seqmix::view(x, 2, -3))); }) ==
        "q: extents of at least 0 / [2, -3]");
  CHECK(after([&](contract& c) {
          c.tensor("q", any_view<2>(seqmix::view(static_cast<float*>(nullptr), 2, 3)));
        }) == "q: data for shape [2, 3] / a null pointer");
  CHECK(after([&](contract& c) {
          c.tensor("q", any_view<2>(seqmix::view(static_cast<float*>(nullptr), 0, 3)));
        }).empty());

  CHECK(after([&](contract& c) { c.shape("k", good, {2, 3}, "[S, D]"); }).empty());
  CHECK(after([&](contract& c) { c.shape("k", good, {2, 4}, "[S, D]"); }) ==
        "k: [S, D] = [2, 4] / [2, 3]");
  CHECK(after([&](contract& c) { c.equal("n", " entries", 4, 5); }) == "n: 4 entries / 5");
  CHECK(after([&](contract& c) { c.in_range("d", 1024, 1, 1024).in_range("d", 1, 1, 2); }).empty());
  CHECK(after([&](contract& c) { c.in_range("d", 1025, 1, 1024); }) == "d: 1 to 1024 / 1025");
  CHECK(after([&](contract& c) { c.in_range("d", 0, 1, 1024); }) == "d: 1 to 1024 / 0");
  CHECK(after([&](contract& c) { c.absent("bias", true); }) ==
        "bias: no value (not implemented yet) / a value");

  CHECK(after([&](contract& c) { c.same_device("k", {}, "q", {}); }).empty());
  CHECK(after([&](contract& c) { c.same_device("k", {}, "q", gpu); }) ==
        "k: memory of cuda:2, as q / host memory");
  CHECK(after([&](contract& c) { c.same_device("k", {gpu.kind, 1}, "q", gpu); }) ==
        "k: memory of cuda:2, as q / memory of cuda:1");
  CHECK(after([&](contract& c) {
          c.same_device("k", {seqmix::device_kind::cuda_pinned, 1}, "q", {});
        }).empty());

  const any_out<2> out = seqmix::view(x, 2, 3);
  const any_out<2> repeated = tensor_view<float, 2>{x, {2, 3}, {0, 1}};
  CHECK(after([&](contract& c) { c.no_overlap("o", out, "q", good); }) ==
        "o: memory apart from q's / overlapping memory");
  CHECK(after([&](contract& c) {
          c.no_overlap("o", out, "q", any_view<1>(seqmix::view(x + 6, 6)));
        }).empty());
  CHECK(after([&](contract& c) { c.no_self_overlap("o", repeated); }) ==
        "o: one address for each element / elements that share memory");
  CHECK(after([&](contract& c) { c.no_self_overlap("o", out); }).empty());
}

TEST_CASE("offsets") {
  const auto check = [](std::vector<std::int32_t> values, std::int64_t total,
                        std::int64_t longest = 0) {
    contract c{"op"};
    c.offsets("offsets", any_view<1>(seqmix::view(values.data(), values.size())), total, longest,
              true);
    return text_of(c);
  };
  CHECK(check({0}, 0).empty());
  CHECK(check({0, 3, 3, 7}, 7).empty());
  CHECK(check({0, 3, 3, 7}, 9).empty());
  CHECK(check({0, 3, 7}, 7, 4).empty());
  CHECK(check({1, 3}, 7) ==
        "offsets: offsets from 0 that never fall, end at or below 7 / entry 0 = 1 after 0");
  CHECK(check({0, 3, 2}, 7) ==
        "offsets: offsets from 0 that never fall, end at or below 7 / entry 2 = 2 after 3");
  CHECK(check({0, 8}, 7) ==
        "offsets: offsets from 0 that never fall, end at or below 7 / entry 1 = 8 after 0");
  CHECK(check({0, -1}, 7) ==
        "offsets: offsets from 0 that never fall, end at or below 7 / entry 1 = -1 after 0");
  CHECK(check({0, 5, 7}, 7, 4) ==
        "offsets: offsets from 0 that never fall, end at or below 7 and step by at most 4 / entry "
        "1 = 5 after 0");
  CHECK(check({}, 7) == "offsets: at least 1 entries / 0");

  const float real[2] = {0, 1};
  contract c{"op"};
  c.offsets("offsets", any_view<1>(seqmix::view(real, 2)), 7, 0, true);
  CHECK(text_of(c) == "offsets: element type i32 or i64 / f32");
}

TEST_CASE("offsets on a device are not read, and need a maximal length") {
  const auto* nowhere = reinterpret_cast<const std::int32_t*>(64);
  const any_view<1> v = tensor_view<const std::int32_t, 1>{
      nowhere, {3}, seqmix::device{seqmix::device_kind::cuda, 0}};
  contract with{"op"};
  CHECK(text_of(with.offsets("offsets", v, 7, 4, false)).empty());
  contract without{"op"};
  CHECK(text_of(without.offsets("offsets", v, 7, 0, false)) ==
        "offsets: a maximal length beside offsets on a device / none");
  contract beside_host_tensors{"op"};
  CHECK(text_of(beside_host_tensors.offsets("offsets", v, 7, 4, true)) ==
        "offsets: host memory, beside host tensors / memory of cuda:0");
  contract lengths{"op"};
  CHECK(text_of(lengths.lengths("lengths", v, 3, false, [](std::int64_t) { return 0; })).empty());
}

TEST_CASE("lengths") {
  const auto check = [](std::vector<std::int64_t> values, std::int64_t sequences) {
    contract c{"op"};
    c.lengths("lengths", any_view<1>(seqmix::view(values.data(), values.size())), sequences, true,
              [](std::int64_t i) { return 10 * (i + 1); });
    return text_of(c);
  };
  CHECK(check({10, 0, 30}, 3).empty());
  CHECK(check({10, 21, 30}, 3) == "lengths: lengths from 0 to 20 / entry 1 = 21");
  CHECK(check({10, -1, 30}, 3) == "lengths: lengths from 0 to 20 / entry 1 = -1");
  CHECK(check({10, 20}, 3) == "lengths: 3 entries / 2");
}
