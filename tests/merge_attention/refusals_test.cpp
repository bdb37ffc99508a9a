// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 3, H = 4, V = 5, P = 3;
constexpr device gpu{device_kind::cuda, 0};

struct arena {
  std::vector<float> in = std::vector<float>(2000, 0.5f);
  std::vector<float> out = std::vector<float>(500, untouched);
  std::vector<float> sums = std::vector<float>(100, untouched);
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, V);
  seqmix::merge_attention_options options{.lse = seqmix::view(sums.data(), B, H, T)};
  seqmix::context ctx{};

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           sums == std::vector<float>(sums.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f);
  }
};

struct two_parts : arena {
  tensor_view<float, 4> o_a = seqmix::view(in.data(), B, T, H, V);
  tensor_view<float, 4> o_b = seqmix::view(in.data() + 200, B, T, H, V);
  tensor_view<float, 3> lse_a = seqmix::view(in.data() + 400, B, H, T);
  tensor_view<float, 3> lse_b = seqmix::view(in.data() + 500, B, H, T);
  two_parts() = default;
  two_parts(const two_parts&) = delete;

  template <class F>
  auto apply(F&& f) const {
    return f(o_a, lse_a, o_b, lse_b, o, options);
  }
};

struct many_parts : arena {
  tensor_view<float, 5> o_parts = seqmix::view(in.data(), P, B, T, H, V);
  tensor_view<float, 4> lse_parts = seqmix::view(in.data() + 500, P, B, H, T);
  many_parts() = default;
  many_parts(const many_parts&) = delete;

  template <class F>
  auto apply(F&& f) const {
    return f(o_parts, lse_parts, o, options);
  }
};

template <class Call>
void refuses(const char* argument, const std::string& expected, const std::string& actual,
             const std::function<void(Call&)>& fault) {
  Call c;
  fault(c);
  CAPTURE(argument, expected, actual);
  const auto check = [&](const seqmix::error& e) {
    check_error(e, "merge_attention", argument, expected, actual);
    CHECK(c.wrote_nothing());
  };
  check(
      error_of([&] { c.apply([&](const auto&... a) { seqmix::merge_attention(a..., c.ctx); }); }));
  check(error_of(
      [&] { c.apply([&](const auto&... a) { seqmix::merge_attention.explain(a..., c.ctx); }); }));
  check(error_of([&] {
    c.apply([&](const auto&... a) { seqmix::merge_attention.workspace_bytes(a..., c.ctx); });
  }));
  check(error_of([&] { c.apply([&](const auto&... a) { seqmix::naive_merge_attention(a...); }); }));
}

}  // namespace

TEST_CASE("sound merges run", "[merge_attention][errors]") {
  two_parts a;
  many_parts b;
  a.apply([&](const auto&... x) { seqmix::merge_attention(x...); });
  b.apply([&](const auto&... x) { seqmix::merge_attention(x...); });
  CHECK(a.out[0] == 0.5f);
  CHECK(b.out[0] == 0.5f);
}

TEST_CASE("merges of shapes that do not match are refused", "[merge_attention][errors]") {
  using two = two_parts;
  using many = many_parts;
  refuses<two>("o_a", "[B, T, H, V] = [2, 3, 4, 5]", "[2, 2, 4, 5]",
               [](two& c) { c.o_a = c.o_a.slice(1, 0, 2); });
  refuses<two>("o_b", "[2, 3, 4, 5]", "[2, 3, 4, 4]", [](two& c) { c.o_b = c.o_b.slice(3, 0, 4); });
  refuses<two>("lse_a", "[B, H, T] = [2, 4, 3]", "[2, 3, 4]",
               [](two& c) { c.lse_a = seqmix::view(c.in.data() + 400, B, T, H); });
  refuses<two>("lse_b", "[2, 4, 3]", "[1, 4, 3]", [](two& c) { c.lse_b = c.lse_b.slice(0, 0, 1); });
  refuses<two>("options.lse", "[2, 4, 3]", "[2, 4, 2]",
               [](two& c) { c.options.lse = seqmix::view(c.sums.data(), B, H, 2); });
  refuses<many>("o_parts", "[2, 3, 4, 5]", "[2, 3, 2, 5]",
                [](many& c) { c.o_parts = c.o_parts.slice(3, 0, 2); });
  refuses<many>("lse_parts", "[2, 4, 3]", "[2, 4, 1]",
                [](many& c) { c.lse_parts = c.lse_parts.slice(3, 0, 1); });
  refuses<many>("lse_parts", "3 parts, as o_parts has", "2",
                [](many& c) { c.lse_parts = c.lse_parts.slice(0, 0, 2); });
  refuses<many>("o_parts", "at least 0 parts", "-1", [](many& c) {
    c.o_parts = c.o_parts.slice(0, 0, -1);
    c.lse_parts = c.lse_parts.slice(0, 0, -1);
  });
  refuses<two>("o", "extents of at least 0", "[2, -3, 4, 5]",
               [](two& c) { c.o = c.o.slice(1, 0, -3); });
}

TEST_CASE("merges of null data, wrong types and wrong devices are refused",
          "[merge_attention][errors]") {
  using two = two_parts;
  using many = many_parts;
  refuses<two>("o_a", "data for shape", "a null pointer",
               [](two& c) { c.o_a = {nullptr, {B, T, H, V}}; });
  refuses<two>("lse_b", "data for shape", "a null pointer",
               [](two& c) { c.lse_b = {nullptr, {B, H, T}}; });
  refuses<two>("o", "data for shape", "a null pointer",
               [](two& c) { c.o = {nullptr, {B, T, H, V}}; });
  refuses<many>("o_parts", "data for shape", "a null pointer",
                [](many& c) { c.o_parts = {nullptr, {P, B, T, H, V}}; });
  refuses<two>("options.lse", "element type f32 or f64", "f16", [](two& c) {
    c.options.lse = seqmix::view(reinterpret_cast<seqmix::f16*>(c.sums.data()), B, H, T);
  });
  refuses<two>("o_b", "host memory, as o", "memory of cuda:0",
               [](two& c) { c.o_b = {c.o_b.data_handle(), {B, T, H, V}, gpu}; });
  refuses<two>("lse_a", "host memory, as o", "memory of cuda:0",
               [](two& c) { c.lse_a = {c.lse_a.data_handle(), {B, H, T}, gpu}; });
  refuses<two>("options.lse", "host memory, as o", "memory of cuda:0", [](two& c) {
    c.options.lse = tensor_view<float, 3>{c.sums.data(), {B, H, T}, gpu};
  });
  // A log-sum-exp needs the range of a float.
  std::vector<seqmix::bf16> narrow(100);
  two_parts c;
  const auto sums = seqmix::view(narrow.data(), B, H, T);
  const seqmix::error e =
      error_of([&] { seqmix::merge_attention(c.o_a, sums, c.o_b, c.lse_b, c.o, c.options); });
  CHECK(e.argument() == "lse_a");
  CHECK(e.actual() == "bf16");
  CHECK(c.wrote_nothing());
}

TEST_CASE("merges over their own inputs are refused", "[merge_attention][errors]") {
  using two = two_parts;
  using many = many_parts;
  refuses<two>("o", "memory apart from o_a's", "overlapping memory", [](two& c) { c.o = c.o_a; });
  refuses<two>("o", "memory apart from o_b's", "overlapping memory",
               [](two& c) { c.o = seqmix::view(c.in.data() + 150, B, T, H, V); });
  refuses<two>("o", "memory apart from lse_a's", "overlapping memory",
               [](two& c) { c.o = seqmix::view(c.in.data() + 420, B, T, H, V); });
  refuses<two>("options.lse", "memory apart from lse_b's", "overlapping memory",
               [](two& c) { c.options.lse = c.lse_b; });
  refuses<two>("options.lse", "memory apart from o's", "overlapping memory",
               [](two& c) { c.options.lse = seqmix::view(c.out.data() + 100, B, H, T); });
  refuses<many>("o", "memory apart from o_parts's", "overlapping memory",
                [](many& c) { c.o = seqmix::view(c.in.data() + 2 * 120, B, T, H, V); });
  refuses<many>("options.lse", "memory apart from lse_parts's", "overlapping memory",
                [](many& c) { c.options.lse = seqmix::view(c.in.data() + 500 + 48, B, H, T); });
  refuses<two>("o", "one address for each element", "share memory", [](two& c) {
    c.o = {c.out.data(), {B, T, H, V}, {T * H * V, H * V, std::int64_t{0}, std::int64_t{1}}};
  });
  refuses<two>("options.lse", "one address for each element", "share memory", [](two& c) {
    c.options.lse =
        tensor_view<float, 3>{c.sums.data(), {B, H, T}, {std::int64_t{0}, T, std::int64_t{1}}};
  });
}

TEST_CASE("merges without a place to run are refused", "[merge_attention][errors]") {
  two_parts c;
  check_no_place(c.ctx, [&] {
    const seqmix::error e =
        error_of([&] { c.apply([&](const auto&... a) { seqmix::merge_attention(a..., c.ctx); }); });
    CHECK(e.operator_name() == "merge_attention");
    CHECK(c.wrote_nothing());
    return e;
  });
}
