// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/quantise_rows.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/pool.hpp"
#include "support/tensor.hpp"

// A cache of int8 gives the bits of a float cache that holds its numbers, integers times scales.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::tensor_view;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// How the integers and their scales lie.
enum class storage { dense, strided, head_first, reversed, per_head, one };

/// Rows of integers, [outer, rows, heads, dim], beside the floats that they stand for.
struct quantised {
  quantised(std::int64_t outer, std::int64_t rows, std::int64_t heads, std::int64_t dim,
            storage kind, std::uint64_t seed)
      : floats({outer, rows, heads, dim}) {
    const std::int64_t step = kind == storage::strided ? 3 : 1;
    const std::int64_t row = dim * step + (kind == storage::strided ? 5 : 0);
    const bool by_head = kind == storage::head_first;
    memory.resize(static_cast<std::size_t>(outer * rows * heads * row));
    scale_memory.resize(static_cast<std::size_t>(outer * rows * heads) + 1);
    std::int64_t origin = 0;
    std::int64_t strides[] = {rows * heads * row, by_head ? row : heads * row,
                              by_head ? rows * row : row, step};
    std::int64_t scale_strides[] = {rows * heads, by_head ? 1 : heads, by_head ? rows : 1};
    if (kind == storage::per_head || kind == storage::one) {
      scale_strides[0] = scale_strides[1] = 0;
      scale_strides[2] = kind == storage::one ? 0 : 1;
    }
    if (kind == storage::reversed) {
      origin = (rows - 1) * strides[1] + (dim - 1);
      strides[1] = -strides[1];
      strides[3] = -1;
    }
    integers = tensor_view<std::int8_t, 4>(memory.data() + origin, {outer, rows, heads, dim},
                                           {strides[0], strides[1], strides[2], strides[3]});
    scales = tensor_view<float, 3>(scale_memory.data(), {outer, rows, heads},
                                   {scale_strides[0], scale_strides[1], scale_strides[2]});
    std::uint64_t at = seed * 1000;
    for (float& s : scale_memory) {
      s = 0.004f + 0.03f * static_cast<float>(mix(++at) % 1000) / 1000;
    }
    for (std::int8_t& x : memory) {
      x = static_cast<std::int8_t>(mix(++at));
    }
    refresh();
  }

  /// The floats anew, after a change.
  void refresh() {
    auto f = floats.begin();
    for (std::int64_t b = 0; b < integers.extent(0); ++b) {
      for (std::int64_t t = 0; t < integers.extent(1); ++t) {
        for (std::int64_t h = 0; h < integers.extent(2); ++h) {
          for (std::int64_t d = 0; d < integers.extent(3); ++d) {
            *f++ = static_cast<float>(integers(b, t, h, d)) * scales(b, t, h);
          }
        }
      }
    }
  }
  tensor_view<const float, 4> as_floats() const {
    return {floats.data(), seqmix::index_list<4>(integers.extent(0), integers.extent(1),
                                                 integers.extent(2), integers.extent(3))};
  }
  tensor_view<const std::int8_t, 4> as_integers() const { return integers; }

  struct numbers : std::vector<float> {
    numbers(std::initializer_list<std::int64_t> extents) {
      std::int64_t n = 1;
      for (const std::int64_t e : extents) {
        n *= e;
      }
      resize(static_cast<std::size_t>(n));
    }
  };
  std::vector<std::int8_t> memory;
  std::vector<float> scale_memory;
  tensor_view<std::int8_t, 4> integers{nullptr, {0, 0, 0, 0}};
  tensor_view<float, 3> scales{nullptr, {0, 0, 0}};
  numbers floats;
};

struct shape {
  std::int64_t B = 2, T = 40, S = 290, H = 4, HK = 2, D = 64, V = 64;
  std::int64_t page = 0;  // 0: contiguous
};

/// Queries of type T and outputs, and the cache in both forms.
template <class T>
struct problem {
  problem(const shape& n, storage kind)
      : s(n),
        outer(n.page == 0 ? n.B : n.B * ((n.S + n.page - 1) / n.page)),
        rows(n.page == 0 ? n.S : n.page),
        k(outer, rows, n.HK, n.D, kind, 1),
        v(outer, rows, n.HK, n.V, kind, 2),
        q(static_cast<std::size_t>(n.B * n.T * n.H * n.D)),
        o(static_cast<std::size_t>(n.B * n.T * n.H * n.V)),
        lse(static_cast<std::size_t>(n.B * n.H * n.T)),
        lengths(static_cast<std::size_t>(n.B), n.S) {
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = T(static_cast<float>(normal(i + 7)));
    }
    lengths.back() -= 3;
    const std::int64_t pages = n.page == 0 ? 0 : outer / n.B;
    for (std::int64_t i = 0; i < n.B * pages; ++i) {
      table.push_back((i * 7 + 3) % outer);  // 7 shares no factor with the numbers of pages here
    }
  }

  seqmix::kv_layout layout(bool scaled) const {
    seqmix::kv_layout how{.lengths = seqmix::view(lengths.data(), s.B)};
    if (s.page != 0) {
      how.block_table = seqmix::view(table.data(), s.B, outer / s.B);
    }
    if (scaled) {
      how.k_scale = tensor_view<const float, 3>(k.scales);
      how.v_scale = tensor_view<const float, 3>(v.scales);
    }
    return how;
  }
  /// Runs `call(q, kv, o, options)`; gives the outputs' bits.
  template <class F>
  std::vector<float> outputs(bool as_int8, seqmix::softmax_attention_options options, F&& call) {
    std::fill(o.begin(), o.end(), T(-1.0f));
    std::fill(lse.begin(), lse.end(), -1.0f);
    options.lse = seqmix::view(lse.data(), s.B, s.H, s.T);
    const tensor_view<const T, 4> queries(q.data(), seqmix::index_list<4>(s.B, s.T, s.H, s.D));
    const tensor_view<T, 4> out(o.data(), seqmix::index_list<4>(s.B, s.T, s.H, s.V));
    if (as_int8) {
      call(queries, seqmix::kv_view(k.as_integers(), v.as_integers(), layout(true)), out, options);
    } else {
      call(queries, seqmix::kv_view(k.as_floats(), v.as_floats(), layout(false)), out, options);
    }
    std::vector<float> all(lse);
    for (const T x : o) {
      all.push_back(static_cast<float>(x));
    }
    return all;
  }
  std::vector<float> run(bool as_int8, const seqmix::softmax_attention_options& options,
                         const seqmix::context& ctx = {}) {
    return outputs(as_int8, options,
                   [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
  }

  shape s;
  std::int64_t outer, rows;
  quantised k, v;
  std::vector<T> q, o;
  std::vector<float> lse;
  std::vector<std::int64_t> lengths, table;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const seqmix::softmax_attention_options masks[] = {
    {}, {.causal = true}, {.causal = true, .window = {.left = 70}, .sink_tokens = 5, .softcap = 3}};

constexpr storage storages[] = {storage::dense,    storage::strided,  storage::head_first,
                                storage::reversed, storage::per_head, storage::one};

}  // namespace

TEST_CASE("a cache of int8 equals one of its numbers, bit for bit", "[softmax_attention][int8]") {
  for (const std::int64_t page : {0, 1, 16, 100}) {
    for (const storage kind : storages) {
      for (const std::int64_t T : {1, 5, 40, 100}) {
        for (const auto& [D, V] : {std::pair{64, 64}, std::pair{36, 17}}) {
          problem<float> p({.T = T, .D = D, .V = V, .page = page}, kind);
          for (const auto& options : masks) {
            CAPTURE(page, static_cast<int>(kind), T, D, options.causal, options.sink_tokens);
            CHECK(same_bits(p.run(true, options), p.run(false, options)));
          }
        }
      }
    }
  }
}

TEST_CASE("in every algorithm", "[softmax_attention][int8]") {
  for (const std::int64_t page : {0, 16}) {
    for (const char* algorithm : {"tiled", "split_kv", "two_pass", "three_pass"}) {
      problem<float> p({.T = 20, .D = 80, .V = 128, .page = page}, storage::dense);
      const seqmix::context ctx{.pin = {.implementation = "flash", .algorithm = algorithm}};
      CAPTURE(page, algorithm);
      CHECK(same_bits(p.run(true, masks[1], ctx), p.run(false, masks[1], ctx)));
    }
  }
}

TEST_CASE("queries and outputs of bf16 over int8", "[softmax_attention][int8]") {
  for (const std::int64_t T : {1, 40}) {
    problem<bf16> p({.T = T}, storage::dense);
    for (const auto& options : masks) {
      CHECK(same_bits(p.run(true, options), p.run(false, options)));
    }
  }
}

TEST_CASE("int8 keys beside bf16 values", "[softmax_attention][int8]") {
  problem<float> p({}, storage::dense);
  std::vector<bf16> values;
  for (const float x : p.v.floats) {
    values.push_back(bf16(x));
  }
  const tensor_view<const bf16, 4> v(values.data(),
                                     seqmix::index_list<4>(p.s.B, p.s.S, p.s.HK, p.s.V));
  const tensor_view<const float, 4> q(p.q.data(),
                                      seqmix::index_list<4>(p.s.B, p.s.T, p.s.H, p.s.D));
  std::vector<float> expected(p.o.size());
  const auto out = [&](std::vector<float>& o) {
    return tensor_view<float, 4>(o.data(), seqmix::index_list<4>(p.s.B, p.s.T, p.s.H, p.s.V));
  };
  seqmix::softmax_attention(
      q,
      seqmix::kv_view(p.k.as_integers(), v, {.k_scale = tensor_view<const float, 3>(p.k.scales)}),
      out(p.o));
  seqmix::softmax_attention(q, seqmix::kv_view(p.k.as_floats(), v), out(expected));
  CHECK(same_bits(p.o, expected));
}

TEST_CASE("the oracle reads int8", "[softmax_attention][int8]") {
  for (const std::int64_t page : {0, 16}) {
    problem<float> p({.S = 90, .page = page}, storage::head_first);
    const auto oracle = [](const auto&... a) { seqmix::naive_softmax_attention(a...); };
    for (const auto& options : masks) {
      const std::vector<float> exact = p.outputs(true, options, oracle);
      const std::vector<float> fast = p.run(true, options);
      float worst = 0;
      for (std::size_t i = 0; i < exact.size(); ++i) {
        worst = std::fmax(worst, std::fabs(exact[i] - fast[i]));
      }
      CHECK(worst < 2e-5f);
      CHECK(worst > 0.0f);
    }
  }
}

TEST_CASE("executors move no bits of an int8 call", "[softmax_attention][int8][threads]") {
  for (const std::int64_t T : {1, 200}) {
    problem<float> p({.T = T, .S = 1100}, storage::dense);
    const std::vector<float> expected = p.run(true, masks[1]);
    pool_executor pool(3, 1);
    seqmix::context ctx;
    ctx.executor = pool;
    CHECK(same_bits(p.run(true, masks[1], ctx), expected));
  }
}

TEST_CASE("a scale that no row sees may be anything", "[softmax_attention][int8][nonfinite]") {
  for (const std::int64_t T : {1, 3, 60}) {
    problem<float> p({.B = 1, .T = T, .S = 300}, storage::dense);
    const seqmix::softmax_attention_options window{.causal = true, .window = {.left = 40}};
    const std::vector<float> expected = p.run(true, window);
    // Keys before the first window, and those past the length.
    for (std::int64_t t = 0; t < p.s.S; ++t) {
      if (t < p.lengths[0] - T - 40 || t >= p.lengths[0]) {
        p.k.scales(0, t, 0) = nan_value;
        p.v.scales(0, t, 1) = nan_value;
      }
    }
    CHECK(same_bits(p.run(true, window), expected));
    // One that only the last query sees.
    p.v.scales(0, p.lengths[0] - 1, 0) = nan_value;
    const std::vector<float> with_nan = p.run(true, window);
    const auto first_output = static_cast<std::size_t>(p.s.H * T);
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t h = 0; h < p.s.H; ++h) {
        const std::size_t at = first_output + static_cast<std::size_t>((i * p.s.H + h) * p.s.V);
        if (i == T - 1 && h < p.s.H / p.s.HK) {
          CHECK(std::isnan(with_nan[at]));
        } else {
          CHECK(with_nan[at] == expected[at]);
        }
      }
    }
  }
}

TEST_CASE("int8 without its scales is refused", "[softmax_attention][int8][errors]") {
  problem<float> p({}, storage::dense);
  const tensor_view<const float, 4> q(p.q.data(),
                                      seqmix::index_list<4>(p.s.B, p.s.T, p.s.H, p.s.D));
  const tensor_view<float, 4> o(p.o.data(), seqmix::index_list<4>(p.s.B, p.s.T, p.s.H, p.s.V));
  seqmix::kv_layout how;
  const auto refusal = [&](const auto& k, const auto& v) {
    return error_of([&] { seqmix::softmax_attention(q, seqmix::kv_view(k, v, how), o); });
  };
  const auto expect = [&](const char* argument, const std::string& expected,
                          const std::string& actual) {
    check_error(refusal(p.k.as_integers(), p.v.as_integers()), "softmax_attention", argument,
                expected, actual);
  };
  expect("kv.layout.k_scale", "element type f32, beside int8", "none");
  const tensor_view<const float, 3> scale(p.k.scales);
  how.k_scale = scale;
  expect("kv.layout.v_scale", "element type f32, beside int8", "none");
  how.v_scale = tensor_view<const double, 3>(nullptr, {0, 0, 0});
  expect("kv.layout.v_scale", "element type f32, beside int8", "f64");
  how.v_scale = scale.slice(1, 0, 5);
  expect("kv.layout.v_scale", "[B, S, HK]", "5");
  how.v_scale = tensor_view<const float, 3>(p.o.data(), {2, 290, 2});
  expect("o", "memory apart from kv.layout.v_scale's", "overlapping memory");
  how.v_scale = scale;
  check_error(refusal(p.k.as_integers(), p.v.as_floats()), "softmax_attention", "kv.layout.v_scale",
              "only beside int8", "a value");
  check_error(refusal(p.k.as_floats(), p.v.as_integers()), "softmax_attention", "kv.layout.k_scale",
              "only beside int8", "a value");
}

TEST_CASE("rows to int8, by hand", "[quantise_rows]") {
  const float x[] = {0, 127, -254, 1, 3, /**/ 0, 0, 0, 0, 0, /**/ -1, 0.5f, 0.25f, 1, -0.125f};
  std::int8_t q[15];
  float scale[3];
  seqmix::quantise_rows(seqmix::view(x, 1, 3, 1, 5), seqmix::view(q, 1, 3, 1, 5),
                        seqmix::view(scale, 1, 3, 1));
  CHECK(scale[0] == 2.0f);
  CHECK(scale[1] == 0.0f);
  CHECK(scale[2] == 1.0f / 127);
  // 63.5, 0.5 and 1.5 to the even neighbour.
  const std::int8_t expected[] = {0, 64, -127, 0, 2, 0, 0, 0, 0, 0, -127, 64, 32, 127, -16};
  for (int i = 0; i < 15; ++i) {
    CAPTURE(i);
    CHECK(q[i] == expected[i]);
  }
}

TEST_CASE("rows to int8 are off by half a scale at most", "[quantise_rows]") {
  for (const layout kind : {layout::dense, layout::strided, layout::head_first, layout::reversed}) {
    for (const std::int64_t D : {1, 7, 64, 100}) {
      tensor<4> x(scalar_type::bf16, {2, 5, 3, D}, kind);
      x.fill(3, 10);
      std::vector<std::int8_t> q(static_cast<std::size_t>(2 * 5 * 3 * D * 2));
      std::vector<float> scale(2 * 5 * 3);
      const tensor_view<std::int8_t, 4> to(q.data(), {2, 5, 3, D}, {30 * D, 6 * D, 2 * D, 2});
      const auto scales = seqmix::view(scale.data(), 2, 5, 3);
      seqmix::quantise_rows(x.view<const bf16>(), to, scales);
      x.for_each([&](const tensor<4>::index& i) {
        const float s = scales(i[0], i[1], i[2]);
        const float number = static_cast<float>(to(i[0], i[1], i[2], i[3])) * s;
        CHECK(std::fabs(number - static_cast<float>(x[i])) <= 0.5001f * s);
      });
    }
  }
}

TEST_CASE("a row that is not finite is NaN as int8", "[quantise_rows]") {
  const float x[] = {1, std::numeric_limits<float>::infinity(), 2, 1, 2, 4};
  std::int8_t q[6];
  float scale[2];
  seqmix::quantise_rows(seqmix::view(x, 1, 2, 1, 3), seqmix::view(q, 1, 2, 1, 3),
                        seqmix::view(scale, 1, 2, 1));
  CHECK(std::isnan(scale[0]));
  CHECK(scale[1] == 4.0f / 127);
}

TEST_CASE("rows to int8 are refused where shapes differ", "[quantise_rows][errors]") {
  const float x[12] = {};
  std::int8_t q[12];
  float scale[4];
  const auto refusal = [&](const auto& from, const auto& to, const auto& scales) {
    return error_of([&] { seqmix::quantise_rows(from, to, scales); });
  };
  const auto from = seqmix::view(x, 1, 4, 1, 3);
  check_error(refusal(from, seqmix::view(q, 1, 3, 1, 4), seqmix::view(scale, 1, 4, 1)),
              "quantise_rows", "q", "[1, 4, 1, 3]", "[1, 3, 1, 4]");
  check_error(refusal(from, seqmix::view(q, 1, 4, 1, 3), seqmix::view(scale, 1, 2, 2)),
              "quantise_rows", "scale", "[1, 4, 1]", "[1, 2, 2]");
  check_error(refusal(from, tensor_view<std::int8_t, 4>(q, {1, 4, 1, 3}, {0, 0, 0, 1}),
                      seqmix::view(scale, 1, 4, 1)),
              "quantise_rows", "q", "one address for each element", "elements that share memory");
}
