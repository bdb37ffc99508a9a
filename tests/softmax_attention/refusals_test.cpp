// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::device;
using seqmix::device_kind;
using seqmix::tensor_view;

namespace {

constexpr float untouched = -77.0f;
constexpr std::int64_t B = 2, T = 3, S = 5, H = 4, HK = 2, D = 6, V = 7;
constexpr device gpu{device_kind::cuda, 0};

/// What every form of the call has: one arena, so that a test can lay tensors over each other.
struct arena {
  std::vector<float> in = std::vector<float>(2000, 0.5f);
  std::vector<float> out = std::vector<float>(2000, untouched);
  std::vector<float> sums = std::vector<float>(200, untouched);
  seqmix::softmax_attention_options options{};
  seqmix::context ctx{};

  bool wrote_nothing() const {
    return out == std::vector<float>(out.size(), untouched) &&
           sums == std::vector<float>(sums.size(), untouched) &&
           in == std::vector<float>(in.size(), 0.5f);
  }
};

/// A batched call without a fault.
struct batched : arena {
  tensor_view<float, 4> q = seqmix::view(in.data(), B, T, H, D);
  tensor_view<float, 4> k = seqmix::view(in.data() + 500, B, S, HK, D);
  tensor_view<float, 4> v = seqmix::view(in.data() + 1000, B, S, HK, V);
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, V);
  batched() { options.lse = seqmix::view(sums.data(), B, H, T); }
  batched(const batched&) = delete;

  template <class F>
  auto apply(F&& f) const {
    return f(q, k, v, o, options);
  }
};

/// The same on a cache, with lengths.
struct cached : arena {
  std::vector<std::int32_t> lengths{4, 0};
  tensor_view<float, 4> q = seqmix::view(in.data(), B, T, H, D);
  seqmix::kv_view<float, float> kv{seqmix::view(in.data() + 500, B, S, HK, D),
                                   seqmix::view(in.data() + 1000, B, S, HK, V),
                                   {.lengths = seqmix::view(lengths.data(), B)}};
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, V);
  cached() = default;
  cached(const cached&) = delete;

  template <class F>
  auto apply(F&& f) const {
    return f(q, kv, o, options);
  }
};

/// The same on a pool of six pages of two rows; the second sequence's entries past its one page are
/// garbage.
struct paged : arena {
  std::vector<std::int32_t> lengths{5, 2};
  std::vector<std::int64_t> table{4, 0, 3, 1, -8, 99};
  tensor_view<float, 4> q = seqmix::view(in.data(), B, T, H, D);
  seqmix::kv_view<float, float> kv{seqmix::view(in.data() + 500, 6, 2, HK, D),
                                   seqmix::view(in.data() + 1000, 6, 2, HK, V),
                                   {.lengths = seqmix::view(lengths.data(), B),
                                    .block_table = seqmix::view(table.data(), B, 3)}};
  tensor_view<float, 4> o = seqmix::view(out.data(), B, T, H, V);
  paged() = default;
  paged(const paged&) = delete;

  template <class F>
  auto apply(F&& f) const {
    return f(q, kv, o, options);
  }
};

/// The same packed: three sequences, the second without queries.
struct packed : arena {
  std::vector<std::int64_t> q_offsets{0, 4, 4, 9};
  std::vector<std::int32_t> k_offsets{0, 3, 8, 12};
  std::vector<std::int64_t> lengths{3, 0, 4};
  tensor_view<float, 3> q = seqmix::view(in.data(), 9, H, D);
  tensor_view<float, 3> k = seqmix::view(in.data() + 500, 12, HK, D);
  tensor_view<float, 3> v = seqmix::view(in.data() + 1000, 12, HK, V);
  tensor_view<float, 3> o = seqmix::view(out.data(), 9, H, V);
  packed() {
    bind();
    options.lse = seqmix::view(sums.data(), 1, H, 9);
  }
  packed(const packed&) = delete;
  void bind() {
    options.varlen.q_offsets = seqmix::view(q_offsets.data(), q_offsets.size());
    options.varlen.k_offsets = seqmix::view(k_offsets.data(), k_offsets.size());
    options.varlen.k_lengths = seqmix::view(lengths.data(), lengths.size());
  }

  template <class F>
  auto apply(F&& f) const {
    return f(q, k, v, o, options);
  }
};

/// Breaks a sound call with `fault`: the call, its explanation, its size query and the oracle must
/// all refuse it with the same words and write nothing.
template <class Call>
void refuses(const char* argument, const std::string& expected, const std::string& actual,
             const std::function<void(Call&)>& fault) {
  Call c;
  fault(c);
  CAPTURE(argument, expected, actual);
  const auto check = [&](const seqmix::error& e) {
    CAPTURE(e.what());
    CHECK(e.operator_name() == "softmax_attention");
    CHECK(e.argument() == argument);
    CHECK(e.expected().find(expected) != std::string::npos);
    CHECK(e.actual().find(actual) != std::string::npos);
    CHECK(std::string(e.what()) == "seqmix::softmax_attention: " + e.argument() + ": expected " +
                                       e.expected() + ", got " + e.actual());
    CHECK(c.wrote_nothing());
  };
  check(error_of(
      [&] { c.apply([&](const auto&... a) { seqmix::softmax_attention(a..., c.ctx); }); }));
  check(error_of(
      [&] { c.apply([&](const auto&... a) { seqmix::softmax_attention.explain(a..., c.ctx); }); }));
  check(error_of([&] {
    c.apply([&](const auto&... a) { seqmix::softmax_attention.workspace_bytes(a..., c.ctx); });
  }));
  check(
      error_of([&] { c.apply([&](const auto&... a) { seqmix::naive_softmax_attention(a...); }); }));
}

/// The same for what only running the call can refuse.
template <class Call>
seqmix::error refusal_of(const std::function<void(Call&)>& fault) {
  Call c;
  fault(c);
  const seqmix::error e =
      error_of([&] { c.apply([&](const auto&... a) { seqmix::softmax_attention(a..., c.ctx); }); });
  CHECK(e.operator_name() == "softmax_attention");
  CHECK(c.wrote_nothing());
  return e;
}

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double endless = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("the calls that the refusals start from are sound", "[softmax_attention][errors]") {
  batched a;
  cached b;
  packed c;
  paged d;
  a.apply([&](const auto&... x) { seqmix::softmax_attention(x...); });
  b.apply([&](const auto&... x) { seqmix::softmax_attention(x...); });
  c.apply([&](const auto&... x) { seqmix::softmax_attention(x...); });
  d.apply([&](const auto&... x) { seqmix::softmax_attention(x...); });
  CHECK(a.out[0] == 0.5f);
  CHECK(d.out[0] == 0.5f);
  CHECK(b.out[0] == 0.5f);
  CHECK(c.out[0] == 0.5f);
  CHECK_FALSE(a.wrote_nothing());
}

TEST_CASE("shapes that do not match are refused", "[softmax_attention][errors]") {
  using C = batched;
  refuses<C>("k", "[B, S, HK, D] = [2, 5, 2, 6]", "[2, 5, 2, 5]",
             [](C& c) { c.k = c.k.slice(3, 0, 5); });
  refuses<C>("k", "[2, 5, 2, 6]", "[1, 5, 2, 6]", [](C& c) { c.k = c.k.slice(0, 0, 1); });
  refuses<C>("v", "[B, S, HK, V] = [2, 5, 2, 7]", "[2, 4, 2, 7]",
             [](C& c) { c.v = c.v.slice(1, 0, 4); });
  refuses<C>("v", "[2, 5, 2, 7]", "[2, 5, 1, 7]", [](C& c) { c.v = c.v.slice(2, 0, 1); });
  refuses<C>("o", "[B, T, H, V] = [2, 3, 4, 7]", "[2, 2, 4, 7]",
             [](C& c) { c.o = c.o.slice(1, 0, 2); });
  refuses<C>("o", "[2, 3, 4, 7]", "[2, 3, 4, 6]", [](C& c) { c.o = c.o.slice(3, 0, 6); });
  refuses<C>("o", "[2, 3, 4, 7]", "[2, 3, 3, 7]", [](C& c) { c.o = c.o.slice(2, 0, 3); });
  refuses<C>("options.lse", "[B, H, T] = [2, 4, 3]", "[2, 3, 4]",
             [](C& c) { c.options.lse = seqmix::view(c.sums.data(), 2, 3, 4); });
  refuses<C>("k.extent(HK)", "a divisor of H = 3", "2", [](C& c) {
    c.q = c.q.slice(2, 0, 3);
    c.o = c.o.slice(2, 0, 3);
    c.options.lse = {};
  });
  refuses<C>("k.extent(HK)", "a divisor of H = 4", "0", [](C& c) {
    c.k = c.k.slice(2, 0, 0);
    c.v = c.v.slice(2, 0, 0);
  });
  refuses<packed>("k", "[1, 12, 2, 6]", "[1, 12, 2, 5]",
                  [](packed& c) { c.k = c.k.slice(2, 0, 5); });
  refuses<packed>("options.lse", "[1, H, total] = [1, 4, 9]", "[1, 9, 4]",
                  [](packed& c) { c.options.lse = seqmix::view(c.sums.data(), 1, 9, 4); });
  refuses<cached>("v", "[2, 5, 2, 7]", "[2, 4, 2, 7]",
                  [](cached& c) { c.kv.v = c.kv.v.slice(1, 0, 4); });
}

TEST_CASE("extents out of range are refused", "[softmax_attention][errors]") {
  using C = batched;
  refuses<C>("q", "extents of at least 0", "[2, -3, 4, 6]",
             [](C& c) { c.q = c.q.slice(1, 0, -3); });
  refuses<C>("k", "extents of at least 0", "[2, -1, 2, 6]",
             [](C& c) { c.k = c.k.slice(1, 0, -1); });
  refuses<C>("v", "extents of at least 0", "[-2, 5, 2, 7]",
             [](C& c) { c.v = c.v.slice(0, 0, -2); });
  refuses<C>("o", "extents of at least 0", "[2, 3, -4, 7]",
             [](C& c) { c.o = c.o.slice(2, 0, -4); });
  refuses<C>("q.extent(D)", "1 to 1024", "0", [](C& c) {
    c.q = c.q.slice(3, 0, 0);
    c.k = c.k.slice(3, 0, 0);
  });
  refuses<C>("v.extent(V)", "1 to 1024", "0", [](C& c) {
    c.v = c.v.slice(3, 0, 0);
    c.o = c.o.slice(3, 0, 0);
  });
  refuses<C>("q.extent(D)", "1 to 1024", "1025", [](C& c) {
    c.q = {c.in.data(), {1, 1, 1, 1025}};
    c.k = {c.in.data(), {1, 1, 1, 1025}};
  });
  refuses<C>("v.extent(V)", "1 to 1024", "1025",
             [](C& c) { c.v = {c.in.data(), {B, S, HK, std::int64_t{1025}}, {0, 0, 0, 1}}; });
}

TEST_CASE("null data is refused unless there is none to read", "[softmax_attention][errors]") {
  using C = batched;
  refuses<C>("q", "data for shape [2, 3, 4, 6]", "a null pointer",
             [](C& c) { c.q = {nullptr, {B, T, H, D}}; });
  refuses<C>("k", "data for shape", "a null pointer", [](C& c) { c.k = {nullptr, {B, S, HK, D}}; });
  refuses<C>("v", "data for shape", "a null pointer", [](C& c) { c.v = {nullptr, {B, S, HK, V}}; });
  refuses<C>("o", "data for shape", "a null pointer", [](C& c) { c.o = {nullptr, {B, T, H, V}}; });
  refuses<C>("options.lse", "data for shape", "a null pointer",
             [](C& c) { c.options.lse = tensor_view<float, 3>{nullptr, {B, H, T}}; });
  refuses<packed>(
      "options.varlen.q_offsets", "data for shape [4]", "a null pointer",
      [](packed& c) { c.options.varlen.q_offsets = tensor_view<std::int64_t, 1>{nullptr, {4}}; });
  refuses<cached>("kv.layout.lengths", "data for shape [2]", "a null pointer", [](cached& c) {
    c.kv.layout.lengths = tensor_view<std::int64_t, 1>{nullptr, {2}};
  });
  // No keys at all: nothing to point at, and the outputs are still defined.
  C c;
  c.k = {nullptr, {B, std::int64_t{0}, HK, D}};
  c.v = {nullptr, {B, std::int64_t{0}, HK, V}};
  c.apply([&](const auto&... a) { seqmix::softmax_attention(a...); });
  CHECK(c.out[0] == 0.0f);
  CHECK(c.out[static_cast<std::size_t>(B * T * H * V - 1)] == 0.0f);
  CHECK(c.out[static_cast<std::size_t>(B * T * H * V)] == untouched);
  CHECK(c.sums[0] == -std::numeric_limits<float>::infinity());
}

TEST_CASE("options out of range are refused", "[softmax_attention][errors]") {
  using C = batched;
  refuses<C>("options.scale", "a finite number", "nan",
             [](C& c) { c.options.scale = not_a_number; });
  refuses<C>("options.scale", "a finite number", "inf", [](C& c) { c.options.scale = endless; });
  refuses<C>("options.scale", "a finite number", "-inf", [](C& c) { c.options.scale = -endless; });
  refuses<C>("options.window.left", "unbounded, or at least 0", "-2",
             [](C& c) { c.options.window.left = -2; });
  refuses<C>("options.window.right", "unbounded, or at least 0", "-9",
             [](C& c) { c.options.window.right = -9; });
  refuses<C>("options.sink_tokens", "at least 0", "-1", [](C& c) { c.options.sink_tokens = -1; });
}

TEST_CASE("softcap, sink logits, slopes and biases that do not fit are refused",
          "[softmax_attention][errors]") {
  using C = batched;
  const std::string finite = "a finite number, 0 for none";
  refuses<C>("options.softcap", finite, "-1", [](C& c) { c.options.softcap = -1; });
  refuses<C>("options.softcap", finite, "nan", [](C& c) { c.options.softcap = not_a_number; });
  refuses<C>("options.softcap", finite, "inf", [](C& c) { c.options.softcap = endless; });
  refuses<C>("options.sink_logits", "[H] = [4]", "[3]",
             [](C& c) { c.options.sink_logits = seqmix::view(c.in.data(), H - 1); });
  refuses<C>("options.alibi_slopes", "[H] = [4]", "[5]",
             [](C& c) { c.options.alibi_slopes = seqmix::view(c.in.data(), H + 1); });
  static const std::int32_t integers[H] = {};
  const std::string real = "element type f32, f64, f16 or bf16";
  refuses<C>("options.sink_logits", real, "i32",
             [](C& c) { c.options.sink_logits = seqmix::view(integers, H); });
  refuses<C>("options.alibi_slopes", real, "i32",
             [](C& c) { c.options.alibi_slopes = seqmix::view(integers, H); });
  refuses<C>("options.bias", real, "i32",
             [](C& c) { c.options.bias = seqmix::view(integers, 1, H, 1, 1); });
  refuses<C>("options.bias", "[B, H, T, S] = [2, 4, 3, 5], or 1 on any axis", "[2, 4, 3, 4]",
             [](C& c) { c.options.bias = seqmix::view(c.in.data(), B, H, T, S - 1); });
  refuses<C>("options.bias", "[B, H, T, S] = [2, 4, 3, 5], or 1 on any axis", "[2, 2, 3, 5]",
             [](C& c) { c.options.bias = seqmix::view(c.in.data(), B, HK, T, S); });
  refuses<C>("options.sink_logits", "host memory, as q", "memory of cuda:0", [](C& c) {
    c.options.sink_logits = tensor_view<const float, 1>(c.in.data(), {H}, gpu);
  });
  refuses<C>("o", "memory apart from options.bias's", "overlapping memory",
             [](C& c) { c.options.bias = seqmix::view(c.out.data(), B, H, T, S); });
  refuses<C>("options.lse", "memory apart from options.alibi_slopes's", "overlapping memory",
             [](C& c) { c.options.alibi_slopes = seqmix::view(c.sums.data(), H); });
  refuses<C>("options.bias", "data for shape [2, 4, 3, 5]", "a null pointer",
             [](C& c) { c.options.bias = tensor_view<const float, 4>(nullptr, {B, H, T, S}); });
}

TEST_CASE("indexes of ALiBi that do not fit are refused", "[softmax_attention][errors]") {
  using C = batched;
  constexpr const char* query = "options.alibi.query";
  constexpr const char* key = "options.alibi.key";
  const auto sound = [](arena& c, std::int64_t queries = T, std::int64_t keys = S) {
    c.options.alibi_slopes = seqmix::view(c.in.data() + 1500, H);
    c.options.alibi = {.query = seqmix::view(c.in.data() + 1600, 1, queries),
                       .key = seqmix::view(c.in.data() + 1700, 1, keys)};
  };
  refuses<C>("options.alibi_slopes", "slopes, beside options.alibi", "none", [&](C& c) {
    sound(c);
    c.options.alibi_slopes = {};
  });
  refuses<C>(query, "indexes on both sides", "none", [&](C& c) {
    sound(c);
    c.options.alibi.query = {};
  });
  refuses<C>(key, "indexes on both sides", "none", [&](C& c) {
    sound(c);
    c.options.alibi.key = {};
  });
  refuses<C>(query, "[B, T] = [2, 3], or B = 1", "[1, 4]", [&](C& c) { sound(c, T + 1); });
  refuses<C>(query, "[B, T] = [2, 3], or B = 1", "[3, 3]", [&](C& c) {
    sound(c);
    c.options.alibi.query = seqmix::view(c.in.data(), B + 1, T);
  });
  refuses<C>(key, "[B, S] = [2, 5], or B = 1", "[1, 6]", [&](C& c) { sound(c, T, S + 1); });
  refuses<cached>(key, "[B, S] = [2, 5], or B = 1", "[1, 4]",
                  [&](cached& c) { sound(c, T, S - 1); });
  refuses<paged>(key, "[B, longest length] = [2, 5], or B = 1", "[1, 4]",
                 [&](paged& c) { sound(c, T, 4); });
  refuses<packed>(query, "[1, total] = [1, 9], or B = 1", "[1, 5]",
                  [&](packed& c) { sound(c, 5, 12); });
  refuses<packed>(key, "[1, total] = [1, 12], or B = 1", "[1, 5]",
                  [&](packed& c) { sound(c, 9, 5); });
  refuses<C>(key, "host memory, as q", "memory of cuda:0", [&](C& c) {
    sound(c);
    c.options.alibi.key = tensor_view<const float, 2>(c.in.data(), {std::int64_t{1}, S}, gpu);
  });
  refuses<C>("o", "memory apart from options.alibi.query's", "overlapping memory", [&](C& c) {
    sound(c);
    c.options.alibi.query = seqmix::view(c.out.data() + 7, B, T);
  });
  refuses<C>("options.lse", "memory apart from options.alibi.key's", "overlapping memory",
             [&](C& c) {
               sound(c);
               c.options.alibi.key = seqmix::view(c.sums.data(), 1, S);
             });
  refuses<C>(query, "data for shape [2, 3]", "a null pointer", [&](C& c) {
    sound(c);
    c.options.alibi.query = tensor_view<const std::int64_t, 2>(nullptr, {B, T});
  });
}

TEST_CASE("biases by distance that do not fit are refused", "[softmax_attention][errors]") {
  using C = batched;
  constexpr const char* values = "options.relative_bias.values";
  constexpr const char* origin = "options.relative_bias.origin";
  const auto table = [](arena& c, std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t r) {
    c.options.relative_bias.values = seqmix::view(c.in.data() + 1200, b, h, t, r);
  };
  refuses<C>(values, "[B, H, T, R] = [2, 4, 3, 7], or 1 on any axis", "[2, 2, 3, 7]",
             [&](C& c) { table(c, B, HK, T, 7); });
  refuses<C>(values, "[B, H, T, R] = [2, 4, 3, 7], or 1 on any axis", "[1, 4, 2, 7]",
             [&](C& c) { table(c, 1, H, T - 1, 7); });
  refuses<packed>(values, "[sequences, H, longest q, R] = [3, 4, 5, 2]", "[3, 4, 4, 2]",
                  [&](packed& c) { table(c, 3, H, 4, 2); });
  refuses<C>(values, "R of at least 1", "0", [&](C& c) { table(c, 1, H, 1, 0); });
  refuses<C>(origin, "0 to 6", "7", [&](C& c) {
    table(c, 1, H, 1, 7);
    c.options.relative_bias.origin = 7;
  });
  refuses<C>(origin, "0 to 6", "-1", [&](C& c) {
    table(c, 1, H, 1, 7);
    c.options.relative_bias.origin = -1;
  });
  refuses<C>(values, "a table, beside an origin", "none",
             [&](C& c) { c.options.relative_bias.origin = 3; });
  refuses<C>(values, "element type f32, f64, f16 or bf16", "i64", [](C& c) {
    static const std::int64_t integers[H] = {};
    c.options.relative_bias.values = seqmix::view(integers, 1, H, 1, 1);
  });
  refuses<C>(
      "o", "memory apart from options.relative_bias.values's", "overlapping memory",
      [&](C& c) { c.options.relative_bias.values = seqmix::view(c.out.data(), 1, H, 1, 5); });
  refuses<C>(values, "host memory, as q", "memory of cuda:0", [](C& c) {
    const std::int64_t one = 1;
    c.options.relative_bias.values =
        tensor_view<const float, 4>(c.in.data(), {one, H, one, one}, gpu);
  });
}

TEST_CASE("options of another form of the call are refused, not ignored",
          "[softmax_attention][errors]") {
  using C = batched;
  refuses<C>("options.varlen", "only with packed tensors of rank 3", "a value", [](C& c) {
    static const std::int32_t offsets[] = {0, 1, 2};
    c.options.varlen.q_offsets = seqmix::view(offsets, 3);
  });
  refuses<C>("options.varlen", "only with packed tensors of rank 3", "a value", [](C& c) {
    static const std::int32_t lengths[] = {1, 2};
    c.options.varlen.k_lengths = seqmix::view(lengths, 2);
  });
  refuses<cached>("options.varlen", "only with packed tensors of rank 3", "a value", [](cached& c) {
    c.options.varlen.k_offsets = seqmix::view(c.lengths.data(), 2);
  });
}

TEST_CASE("outputs of the wrong type are refused", "[softmax_attention][errors]") {
  refuses<batched>("options.lse", "element type f32 or f64", "bf16", [](batched& c) {
    c.options.lse = seqmix::view(reinterpret_cast<seqmix::bf16*>(c.sums.data()), B, H, T);
  });
  refuses<batched>("options.lse", "element type f32 or f64", "i32", [](batched& c) {
    c.options.lse = seqmix::view(reinterpret_cast<std::int32_t*>(c.sums.data()), B, H, T);
  });
}

TEST_CASE("outputs over inputs, or over themselves, are refused", "[softmax_attention][errors]") {
  using C = batched;
  // An output that lies in the inputs' arena.
  refuses<C>("o", "memory apart from q's", "overlapping memory",
             [](C& c) { c.o = seqmix::view(c.in.data(), B, T, H, V); });
  refuses<C>("o", "memory apart from q's", "overlapping memory",
             [](C& c) { c.o = seqmix::view(c.in.data() + B * T * H * D - 1, B, T, H, V); });
  refuses<C>("o", "memory apart from k's", "overlapping memory",
             [](C& c) { c.o = seqmix::view(c.in.data() + 510, B, T, H, V); });
  refuses<C>("o", "memory apart from v's", "overlapping memory",
             [](C& c) { c.o = seqmix::view(c.in.data() + 999, B, T, H, V); });
  refuses<C>("options.lse", "memory apart from o's", "overlapping memory",
             [](C& c) { c.options.lse = seqmix::view(c.out.data() + 10, B, H, T); });
  refuses<C>("options.lse", "memory apart from q's", "overlapping memory",
             [](C& c) { c.options.lse = seqmix::view(c.in.data(), B, H, T); });
  refuses<C>("options.lse", "memory apart from k's", "overlapping memory",
             [](C& c) { c.options.lse = seqmix::view(c.in.data() + 500, B, H, T); });
  refuses<C>("options.lse", "memory apart from v's", "overlapping memory",
             [](C& c) { c.options.lse = seqmix::view(c.in.data() + 1000, B, H, T); });
  const std::string one = "one address for each element";
  refuses<C>("o", one, "share memory", [](C& c) {
    c.o = {c.out.data(), {B, T, H, V}, {std::int64_t{0}, H * V, V, std::int64_t{1}}};
  });
  refuses<C>("o", one, "share memory", [](C& c) {
    c.o = {c.out.data(), {B, T, H, V}, {T * H * V, H * V, V - 1, std::int64_t{1}}};
  });
  refuses<C>("options.lse", one, "share memory", [](C& c) {
    c.options.lse =
        tensor_view<float, 3>{c.sums.data(), {B, H, T}, {H, std::int64_t{1}, std::int64_t{0}}};
  });
  refuses<packed>("o", "memory apart from q's", "overlapping memory",
                  [](packed& c) { c.o = seqmix::view(c.in.data() + 5, 9, H, V); });
  refuses<cached>("o", "memory apart from v's", "overlapping memory",
                  [](cached& c) { c.o = seqmix::view(c.in.data() + 1005, B, T, H, V); });
}

TEST_CASE("offsets that do not describe the tensors are refused", "[softmax_attention][errors]") {
  using C = packed;
  const std::string rule = "offsets from 0 that never fall, end at or below ";
  refuses<C>("options.varlen.q_offsets", rule + "9", "entry 2 = 3 after 4",
             [](C& c) { c.q_offsets[2] = 3; });
  refuses<C>("options.varlen.q_offsets", rule + "9", "entry 0 = 1",
             [](C& c) { c.q_offsets[0] = 1; });
  refuses<C>("options.varlen.q_offsets", rule + "9", "entry 0 = -1",
             [](C& c) { c.q_offsets[0] = -1; });
  refuses<C>("options.varlen.q_offsets", rule + "9", "entry 3 = 10",
             [](C& c) { c.q_offsets[3] = 10; });
  refuses<C>("options.varlen.k_offsets", rule + "12", "entry 3 = 13",
             [](C& c) { c.k_offsets[3] = 13; });
  refuses<C>("options.varlen.k_offsets", rule + "12", "entry 1 = -5",
             [](C& c) { c.k_offsets[1] = -5; });
  refuses<C>("options.varlen.k_offsets", "4 entries, as q_offsets has", "3", [](C& c) {
    c.options.varlen.k_offsets = seqmix::view(c.k_offsets.data(), 3);
    c.options.varlen.k_lengths = {};
  });
  refuses<C>("options.varlen.q_offsets", "at least 1 entries", "0",
             [](C& c) { c.options.varlen.q_offsets = {}; });
  refuses<C>("options.varlen.k_offsets", "at least 1 entries", "0",
             [](C& c) { c.options.varlen.k_offsets = {}; });
  refuses<C>("options.varlen.q_offsets", "element type i32 or i64", "f32",
             [](C& c) { c.options.varlen.q_offsets = seqmix::view(c.in.data(), 4); });
  refuses<C>("options.varlen.q_offsets", "step by at most 4", "entry 3 = 9 after 4",
             [](C& c) { c.options.varlen.max_q = 4; });
  refuses<C>("options.varlen.k_offsets", "step by at most 3", "entry 2 = 8 after 3",
             [](C& c) { c.options.varlen.max_k = 3; });
  refuses<C>("options.varlen.q_offsets", "host memory", "memory of cuda:0", [](C& c) {
    c.options.varlen.q_offsets = tensor_view<std::int64_t, 1>{c.q_offsets.data(), {4}, gpu};
    c.options.varlen.max_q = 5;
  });
}

TEST_CASE("lengths out of range are refused", "[softmax_attention][errors]") {
  refuses<cached>("kv.layout.lengths", "lengths from 0 to 5", "entry 1 = 6",
                  [](cached& c) { c.lengths[1] = 6; });
  refuses<cached>("kv.layout.lengths", "lengths from 0 to 5", "entry 0 = -1",
                  [](cached& c) { c.lengths[0] = -1; });
  refuses<cached>("kv.layout.lengths", "2 entries", "1",
                  [](cached& c) { c.kv.layout.lengths = seqmix::view(c.lengths.data(), 1); });
  refuses<cached>("kv.layout.lengths", "element type i32 or i64", "f32",
                  [](cached& c) { c.kv.layout.lengths = seqmix::view(c.in.data(), 2); });
  refuses<cached>("kv.layout.lengths", "host memory", "memory of cuda:0", [](cached& c) {
    c.kv.layout.lengths = tensor_view<std::int32_t, 1>{c.lengths.data(), {2}, gpu};
  });
  refuses<packed>("options.varlen.k_lengths", "lengths from 0 to 5", "entry 1 = 6",
                  [](packed& c) { c.lengths[1] = 6; });
  refuses<packed>("options.varlen.k_lengths", "lengths from 0 to 4", "entry 2 = -1",
                  [](packed& c) { c.lengths[2] = -1; });
  refuses<packed>("options.varlen.k_lengths", "3 entries", "2", [](packed& c) {
    c.options.varlen.k_lengths = seqmix::view(c.lengths.data(), 2);
  });
}

TEST_CASE("block tables that do not describe the pool are refused", "[softmax_attention][errors]") {
  using C = paged;
  constexpr const char* table = "kv.layout.block_table";
  constexpr const char* lengths = "kv.layout.lengths";
  refuses<C>(table, "pages in [0, 6) wherever keys are in use", "entry [0, 2] = 6",
             [](C& c) { c.table[2] = 6; });
  refuses<C>(table, "pages in [0, 6)", "entry [1, 0] = -1", [](C& c) { c.table[3] = -1; });
  refuses<C>(table, "pages in [0, 6)", "entry [1, 1] = -8", [](C& c) { c.lengths[1] = 3; });
  refuses<C>(lengths, "lengths from 0 to 6", "entry 0 = 7", [](C& c) { c.lengths[0] = 7; });
  refuses<C>(lengths, "lengths from 0 to 6", "entry 1 = -1", [](C& c) { c.lengths[1] = -1; });
  refuses<C>(lengths, "lengths from 0 to 4", "entry 0 = 5",
             [](C& c) { c.kv.layout.block_table = seqmix::view(c.table.data(), B, 2); });
  refuses<C>(lengths, "lengths, beside a block table", "none",
             [](C& c) { c.kv.layout.lengths = {}; });
  refuses<C>(lengths, "2 entries", "0",
             [](C& c) { c.kv.layout.lengths = tensor_view<const std::int32_t, 1>{nullptr, {0}}; });
  refuses<C>(table, "2 rows, one for each sequence", "1",
             [](C& c) { c.kv.layout.block_table = seqmix::view(c.table.data(), 1, 3); });
  refuses<C>(table, "element type i32 or i64", "f32",
             [](C& c) { c.kv.layout.block_table = seqmix::view(c.in.data(), B, 3); });
  refuses<C>(table, "data for shape [2, 3]", "a null pointer", [](C& c) {
    c.kv.layout.block_table = tensor_view<const std::int32_t, 2>{nullptr, {B, 3}};
  });
  refuses<C>(table, "extents of at least 0", "[2, -3]", [](C& c) {
    c.kv.layout.block_table = tensor_view<const std::int64_t, 2>{c.table.data(), {B, -3}};
  });
  refuses<C>(table, "host memory, beside host tensors", "memory of cuda:0", [](C& c) {
    c.kv.layout.block_table = tensor_view<const std::int64_t, 2>{c.table.data(), {B, 3}, gpu};
  });
  refuses<C>("k", "[pages, page, HK, D] = [6, 2, 2, 6]", "[6, 2, 2, 5]",
             [](C& c) { c.kv.k = c.kv.k.slice(3, 0, 5); });
  refuses<C>("v", "[pages, page, HK, V] = [6, 2, 2, 7]", "[5, 2, 2, 7]",
             [](C& c) { c.kv.v = c.kv.v.slice(0, 0, 5); });
  refuses<C>("v", "[pages, page, HK, V] = [6, 2, 2, 7]", "[6, 1, 2, 7]",
             [](C& c) { c.kv.v = c.kv.v.slice(1, 0, 1); });
  refuses<C>("k.extent(page)", "at least 1", "0", [](C& c) {
    c.kv.k = c.kv.k.slice(1, 0, 0);
    c.kv.v = c.kv.v.slice(1, 0, 0);
  });
  refuses<C>("options.bias", "[B, H, T, longest length] = [2, 4, 3, 5], or 1 on any axis",
             "[2, 4, 3, 4]", [](C& c) { c.options.bias = seqmix::view(c.in.data(), B, H, T, 4); });
  refuses<C>("options.bias", "[2, 4, 3, 5], or 1 on any axis", "[2, 4, 4, 5]",
             [](C& c) { c.options.bias = seqmix::view(c.in.data(), B, H, T + 1, 5); });
}

TEST_CASE("tensors on different devices are refused", "[softmax_attention][errors]") {
  using C = batched;
  const std::string host = "host memory, as q";
  refuses<C>("k", host, "memory of cuda:0",
             [](C& c) { c.k = {c.k.data_handle(), {B, S, HK, D}, gpu}; });
  refuses<C>("v", host, "memory of cuda:0",
             [](C& c) { c.v = {c.v.data_handle(), {B, S, HK, V}, gpu}; });
  refuses<C>("o", host, "memory of cuda:0",
             [](C& c) { c.o = {c.o.data_handle(), {B, T, H, V}, gpu}; });
  refuses<C>("options.lse", host, "memory of cuda:0",
             [](C& c) { c.options.lse = tensor_view<float, 3>{c.sums.data(), {B, H, T}, gpu}; });
  refuses<C>("k", "memory of cuda:0, as q", "host memory",
             [](C& c) { c.q = {c.q.data_handle(), {B, T, H, D}, gpu}; });
  refuses<C>("v", "memory of cuda:0, as q", "memory of cuda:1", [](C& c) {
    c.q = {c.q.data_handle(), {B, T, H, D}, gpu};
    c.k = {c.k.data_handle(), {B, S, HK, D}, gpu};
    c.v = {c.v.data_handle(), {B, S, HK, V}, device{device_kind::cuda, 1}};
    c.o = {c.o.data_handle(), {B, T, H, V}, gpu};
    c.options.lse = {};
  });
}

TEST_CASE("device tensors without a CUDA back-end are refused", "[softmax_attention][errors]") {
  const seqmix::error e = refusal_of<batched>([](batched& c) {
    c.q = {c.q.data_handle(), {B, T, H, D}, gpu};
    c.k = {c.k.data_handle(), {B, S, HK, D}, gpu};
    c.v = {c.v.data_handle(), {B, S, HK, V}, gpu};
    c.o = {c.o.data_handle(), {B, T, H, V}, gpu};
    c.options.lse = {};
  });
  CHECK(e.argument() == "tensors");
  CHECK(e.expected() == "host memory, since no CUDA back-end is linked");
  CHECK(e.actual() == "memory of cuda:0");

  const seqmix::error policy =
      refusal_of<batched>([](batched& c) { c.ctx.device = seqmix::device_policy::cuda; });
  CHECK(policy.argument() == "context.device");
  CHECK(policy.actual() == "cuda");
}

TEST_CASE("pinned memory is host memory", "[softmax_attention]") {
  batched c;
  c.q = {c.q.data_handle(), {B, T, H, D}, device{device_kind::cuda_pinned, 0}};
  c.apply([&](const auto&... a) { seqmix::softmax_attention(a...); });
  CHECK(c.out[0] == 0.5f);
}

TEST_CASE("pins that fit nothing are refused", "[softmax_attention][errors]") {
  using C = batched;
  seqmix::error e = refusal_of<C>([](C& c) { c.ctx.pin.implementation = "magic"; });
  CHECK(e.argument() == "context.pin.implementation");
  CHECK(e.expected() == "one of flash, naive");
  CHECK(e.actual() == "magic");
  e = refusal_of<C>([](C& c) { c.ctx.pin.algorithm = "magic"; });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("flash: lacks the pinned algorithm") != std::string::npos);
  e = refusal_of<C>([](C& c) { c.ctx.pin.isa = "magic"; });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("magic") != std::string::npos);
  // 200 query rows for a key-value head are too many for split_kv.
  e = refusal_of<C>([](C& c) {
    c.q = seqmix::view(c.in.data(), 1, 100, 4, 2);
    c.k = seqmix::view(c.in.data() + 900, 1, 3, 2, 2);
    c.v = seqmix::view(c.in.data() + 1000, 1, 3, 2, 1);
    c.o = seqmix::view(c.out.data(), 1, 100, 4, 1);
    c.options.lse = {};
    c.ctx.pin.algorithm = "split_kv";
  });
  CHECK(e.argument() == "call");
  CHECK(e.actual().find("128 query rows") != std::string::npos);
}

TEST_CASE("a workspace that is too small is refused", "[softmax_attention][errors]") {
  for (const char* algorithm : {"tiled", "split_kv"}) {
    batched sound;
    sound.ctx.pin = {.implementation = "flash", .algorithm = algorithm};
    const std::size_t bytes = sound.apply([&](const auto&... a) {
      return seqmix::softmax_attention.workspace_bytes(a..., sound.ctx);
    });
    REQUIRE(bytes > 0);
    std::vector<std::byte> memory(bytes);
    const seqmix::error e = refusal_of<batched>([&](batched& c) {
      c.ctx.pin = {.implementation = "flash", .algorithm = algorithm};
      c.ctx.workspace = std::span(memory).first(bytes - 1);
    });
    CHECK(e.argument() == "context.workspace");
    CHECK(e.expected() == "at least " + std::to_string(bytes) + " bytes");
    CHECK(e.actual() == std::to_string(bytes - 1) + " bytes");
    sound.ctx.workspace = memory;
    sound.apply([&](const auto&... a) { seqmix::softmax_attention(a..., sound.ctx); });
    CHECK(sound.out[0] == 0.5f);
  }
}
