// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <tuple>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

// Operators that are this one on other views, or twice: as the README writes them.

using namespace seqmix_test;
using seqmix::tensor_view;

namespace {

using shape = std::array<std::int64_t, 4>;

/// A view of any extents and strides.
tensor_view<float, 4> strided(std::vector<float>& memory, const shape& extents,
                              const shape& strides) {
  return {memory.data(), seqmix::index_list<4>(extents), seqmix::index_list<4>(strides)};
}

std::vector<float> random_memory(std::int64_t n, std::uint64_t seed) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(normal(seed * 100'000 + i));
  }
  return x;
}

/// The rows of batch entry b and head h, one after the other.
std::vector<float> copied_out(const tensor_view<float, 4>& x, std::int64_t b, std::int64_t h) {
  std::vector<float> rows;
  for (std::int64_t t = 0; t < x.extent(1); ++t) {
    for (std::int64_t d = 0; d < x.extent(3); ++d) {
      rows.push_back(x(b, t, h, d));
    }
  }
  return rows;
}

/// One axis of a video as the time axis: every line is its own problem, bit for bit.
void check_axis(const shape& extents, const shape& strides, std::int64_t size,
                const seqmix::softmax_attention_options& options) {
  std::vector<float> q_memory = random_memory(size, 1);
  std::vector<float> k_memory = random_memory(size, 2);
  std::vector<float> v_memory = random_memory(size, 3);
  std::vector<float> o_memory(static_cast<std::size_t>(size), -7.0f);
  const auto q = strided(q_memory, extents, strides);
  const auto k = strided(k_memory, extents, strides);
  const auto v = strided(v_memory, extents, strides);
  const auto o = strided(o_memory, extents, strides);
  pool_executor pool(3, 5);
  seqmix::softmax_attention(q, k, v, o, options, {.executor = pool});
  const auto [B, T, H, D] = extents;
  bool same = true;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      const std::vector<float> one_q = copied_out(q, b, h);
      const std::vector<float> one_k = copied_out(k, b, h);
      const std::vector<float> one_v = copied_out(v, b, h);
      std::vector<float> one_o(one_q.size());
      seqmix::softmax_attention(
          seqmix::view(one_q.data(), 1, T, 1, D), seqmix::view(one_k.data(), 1, T, 1, D),
          seqmix::view(one_v.data(), 1, T, 1, D), seqmix::view(one_o.data(), 1, T, 1, D), options);
      same &= copied_out(o, b, h) == one_o;
    }
  }
  CAPTURE(T, H);
  CHECK(same);
  // All of o, and no more: the axes cover the tensor.
  bool written = true;
  for (const float x : o_memory) {
    written &= x != -7.0f;
  }
  CHECK(written);
}

}  // namespace

TEST_CASE("axial attention is a view: axes before are batch, axes after are heads",
          "[softmax_attention][threads]") {
  // A video [B, F, Y, X, H, D], dense.
  for (const std::int64_t F : {std::int64_t{5}, std::int64_t{60}}) {
    const std::int64_t B = 2, Y = 3, X = 4, H = 2, D = 24;
    const std::int64_t size = B * F * Y * X * H * D;
    for (const bool causal : {false, true}) {
      const seqmix::softmax_attention_options options{.causal = causal};
      check_axis({B * F * Y, X, H, D}, {X * H * D, H * D, D, 1}, size, options);
      check_axis({B * F, Y, X * H, D}, {Y * X * H * D, X * H * D, D, 1}, size, options);
      check_axis({B, F, Y * X * H, D}, {F * Y * X * H * D, Y * X * H * D, D, 1}, size, options);
    }
    // Frames within two of the query's.
    check_axis({B, F, Y * X * H, D}, {F * Y * X * H * D, Y * X * H * D, D, 1}, size,
               {.window = {.left = 2, .right = 2}});
    // Space at once: Y and X lie together.
    check_axis({B * F, Y * X, H, D}, {Y * X * H * D, H * D, D, 1}, size, {});
  }
}

TEST_CASE("axial attention with channels before the axes", "[softmax_attention][threads]") {
  // [B, D, F, X], as convolutions leave it: the channels have a stride.
  const std::int64_t B = 2, D = 16, F = 20, X = 7;
  check_axis({B, F, X, D}, {D * F * X, X, 1, F * X}, B * D * F * X, {});
  check_axis({B, X, F, D}, {D * F * X, 1, X, F * X}, B * D * F * X, {.causal = true});
}

TEST_CASE("keys and values in front are one more part of the softmax", "[softmax_attention]") {
  // An image prompt, a chunk before, a memory bank: P keys beside S own ones.
  for (const auto& [P, S, T] :
       {std::array<std::int64_t, 3>{77, 130, 130}, std::array<std::int64_t, 3>{500, 64, 1},
        std::array<std::int64_t, 3>{3, 300, 64}}) {
    for (const bool sink : {false, true}) {
      attention_case c{
          .B = 2, .T = T, .S = P + S, .H = 4, .HK = 2, .D = 20, .V = 12, .causal = true};
      c.sink_logits = sink;
      c.lse = scalar_type::f32;
      attention_problem whole(c);
      const attention_reference expected(whole);

      const auto q = whole.q.view<float>();
      const auto k = whole.k.view<float>();
      const auto v = whole.v.view<float>();
      tensor<4> parts[2] = {tensor<4>(scalar_type::f32, {2, T, 4, 12}),
                            tensor<4>(scalar_type::f32, {2, T, 4, 12})};
      tensor<3> sums[2] = {tensor<3>(scalar_type::f32, {2, 4, T}),
                           tensor<3>(scalar_type::f32, {2, 4, T})};
      // The prefix lies before every query: no causal bound. Own keys are causal among themselves,
      // and have the sink: it enters once.
      seqmix::softmax_attention_options options{.causal = true, .lse = sums[1].view<float>()};
      if (sink) {
        options.sink_logits = real_view(whole.sink);
      }
      seqmix::softmax_attention(q, k.slice(1, 0, P), v.slice(1, 0, P), parts[0].view<float>(),
                                {.lse = sums[0].view<float>()});
      seqmix::softmax_attention(q, k.slice(1, P, S), v.slice(1, P, S), parts[1].view<float>(),
                                options);
      seqmix::merge_attention(parts[0].view<float>(), sums[0].view<float>(), parts[1].view<float>(),
                              sums[1].view<float>(), whole.o.view<float>(),
                              {.lse = whole.lse.view<float>()});
      CAPTURE(P, S, T, sink);
      CHECK(verify(whole, expected) == "");
    }
  }
}

TEST_CASE("a prefix that a query's part does not know, shared by a batch", "[softmax_attention]") {
  // One memory for every sequence is a batch stride of zero; an empty one changes nothing.
  const std::int64_t P = 90, T = 40;
  attention_problem own({.B = 3,
                         .T = T,
                         .S = T,
                         .H = 2,
                         .HK = 2,
                         .D = 16,
                         .V = 16,
                         .causal = true,
                         .lse = scalar_type::f32});
  const tensor<4> memory_k = [&] {
    tensor<4> t(scalar_type::f32, {3, P, 2, 16}, layout::broadcast);
    t.fill(91);
    return t;
  }();
  const tensor<4> memory_v = [&] {
    tensor<4> t(scalar_type::f32, {3, P, 2, 16}, layout::broadcast);
    t.fill(92);
    return t;
  }();
  for (const std::int64_t used : {std::int64_t{0}, P}) {
    tensor<4> parts[2] = {own.o, own.o};
    tensor<3> sums[2] = {own.lse, own.lse};
    tensor<4> o = own.o;
    const auto q = own.q.view<float>();
    seqmix::softmax_attention(q, memory_k.view<float>().slice(1, 0, used),
                              memory_v.view<float>().slice(1, 0, used), parts[0].view<float>(),
                              {.lse = sums[0].view<float>()});
    seqmix::softmax_attention(q, own.k.view<float>(), own.v.view<float>(), parts[1].view<float>(),
                              {.causal = true, .lse = sums[1].view<float>()});
    seqmix::merge_attention(parts[0].view<float>(), sums[0].view<float>(), parts[1].view<float>(),
                            sums[1].view<float>(), o.view<float>());
    attention_case c = own.c;
    c.S = used + T;
    attention_problem joined(c);
    joined.q = own.q;
    for (const auto& [all, front, back] :
         {std::tuple{&joined.k, &memory_k, &own.k}, std::tuple{&joined.v, &memory_v, &own.v}}) {
      tensor<4>& target = *all;
      const tensor<4>& first = *front;
      const tensor<4>& second = *back;
      target.for_each([&](const tensor<4>::index& i) {
        target.set(i, i[1] < used ? first[i] : second[{i[0], i[1] - used, i[2], i[3]}]);
      });
    }
    const attention_reference expected(joined);
    CAPTURE(used);
    CHECK(compare(o.values(), expected.o, tolerance_of(scalar_type::f32)) == "");
    if (used == 0) {
      CHECK(o.values() == parts[1].values());
    }
  }
}
