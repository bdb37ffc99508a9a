// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/sink_window_cache.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/errors.hpp"
#include "support/pool.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;
using seqmix::rope_layout;
using seqmix::sink_window_attend_options;
using seqmix::sink_window_keys;
using seqmix::sink_window_options;

namespace {

constexpr std::int64_t H = 4, HK = 2, D = 12, V = 7;

/// A stream of `tokens` tokens, and room for what is attended from each of them.
template <class TQ, class TK = TQ, class TV = TK, class TO = TQ>
struct stream {
  std::int64_t batch, tokens;
  tensor<4> q, k, v, o;
  tensor<3> lse;

  explicit stream(std::int64_t n, std::int64_t B = 1, layout kind = layout::dense)
      : batch(B),
        tokens(n),
        q(seqmix::scalar_type_of<TQ>, {B, n, H, D}, kind),
        k(seqmix::scalar_type_of<TK>, {B, n, HK, D}, kind),
        v(seqmix::scalar_type_of<TV>, {B, n, HK, V}, kind),
        o(seqmix::scalar_type_of<TO>, {B, n, H, V},
          kind == layout::broadcast_time ? layout::dense : kind),
        lse(scalar_type::f64, {B, H, n}, layout::strided) {
    q.fill(1, 1.5);
    k.fill(2, 1.5);
    v.fill(3);
  }

  using cache = seqmix::sink_window_cache<TK, TV>;
  cache cache_with(const sink_window_options& options) const {
    return cache(batch, HK, D, V, options);
  }

  /// Tokens [from, to) to the cache, and the result to their place.
  void attend(cache& c, std::int64_t from, std::int64_t to, sink_window_attend_options options = {},
              const seqmix::context& ctx = {}) {
    const auto part = [&](auto view) { return view.slice(1, from, to - from); };
    options.lse = lse.template view<double>().slice(2, from, to - from);
    c.attend(part(q.template view<const TQ>()), part(k.template view<const TK>()),
             part(v.template view<const TV>()), part(o.template view<TO>()), options, ctx);
  }
  void attend_in(cache& c, std::int64_t chunk, const sink_window_attend_options& options = {},
                 const seqmix::context& ctx = {}) {
    for (std::int64_t t = c.length(); t < tokens; t += chunk) {
      attend(c, t, std::min(tokens, t + chunk), options, ctx);
    }
  }
};

sink_window_options with(std::int64_t sinks, std::int64_t window, std::int64_t slack = 0,
                         sink_window_keys keys = sink_window_keys::rotated,
                         std::int64_t rollback = 0) {
  return {.sinks = sinks,
          .window = window,
          .rollback = rollback,
          .slack = slack,
          .rope = {.layout = rope_layout::half_split, .base = 100, .rotary_dims = 8},
          .keys = keys};
}

/// The equation: attention from each token over the sinks and the window, pair by pair in double,
/// with the position of every kept key its place among them. `rotated_too_early` has the trap of
/// the row K01: keys turned by their place in the stream, queries by their slot.
template <class S>
void reference(const S& s, const sink_window_options& options,
               const sink_window_attend_options& more, tensor<4>& o, tensor<3>& lse,
               bool rotated_too_early = false) {
  const auto dims = options.rope.rotary_dims;
  const auto turned = [&](const tensor<4>& x, const tensor<4>::index& row, std::int64_t position) {
    std::vector<double> y;
    for (std::int64_t d = 0; d < D; ++d) {
      y.push_back(x[{row[0], row[1], row[2], d}]);
    }
    for (std::int64_t c = 0; c < dims / 2; ++c) {
      const double angle =
          static_cast<double>(position) *
          std::pow(options.rope.base, -2 * static_cast<double>(c) / static_cast<double>(dims));
      const auto first =
          static_cast<std::size_t>(options.rope.layout == rope_layout::half_split ? c : 2 * c);
      const auto second = static_cast<std::size_t>(
          options.rope.layout == rope_layout::half_split ? c + dims / 2 : 2 * c + 1);
      const double a = y[first], b = y[second];
      y[first] = a * std::cos(angle) - b * std::sin(angle);
      y[second] = b * std::cos(angle) + a * std::sin(angle);
    }
    return y;
  };
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t p = 0; p < s.tokens; ++p) {
        std::vector<std::int64_t> kept;
        for (std::int64_t j = 0; j <= p; ++j) {
          if (j < options.sinks || j > p - options.window) {
            kept.push_back(j);
          }
        }
        const auto query = turned(s.q, {b, p, h, 0}, static_cast<std::int64_t>(kept.size()) - 1);
        std::vector<double> scores;
        for (std::size_t slot = 0; slot < kept.size(); ++slot) {
          const auto key = turned(s.k, {b, kept[slot], h / (H / HK), 0},
                                  rotated_too_early ? kept[slot] : static_cast<std::int64_t>(slot));
          double score = 0;
          for (std::size_t d = 0; d < D; ++d) {
            score += query[d] * key[d];
          }
          score *= more.scale.value_or(1 / std::sqrt(static_cast<double>(D)));
          scores.push_back(more.softcap == 0 ? score
                                             : more.softcap * std::tanh(score / more.softcap));
        }
        double sum = more.sink_logits.given()
                         ? std::exp(static_cast<const double*>(more.sink_logits.data)[h])
                         : 0;
        std::vector<double> result(V);
        for (std::size_t slot = 0; slot < kept.size(); ++slot) {
          const double weight = std::exp(scores[slot]);
          sum += weight;
          for (std::int64_t c = 0; c < V; ++c) {
            result[static_cast<std::size_t>(c)] += weight * s.v[{b, kept[slot], h / (H / HK), c}];
          }
        }
        for (std::int64_t c = 0; c < V; ++c) {
          o.set({b, p, h, c}, result[static_cast<std::size_t>(c)] / sum);
        }
        lse.set({b, h, p}, std::log(sum));
      }
    }
  }
}

template <std::size_t Rank>
double largest_difference(const tensor<Rank>& x, const tensor<Rank>& y) {
  double worst = 0;
  x.for_each([&](const typename tensor<Rank>::index& i) {
    const double d = std::abs(x[i] - y[i]);
    worst = d <= worst ? worst : d;  // keeps NaN
  });
  return worst;
}

/// How far a stream's results are from the equation's.
template <class S>
double error_of_stream(const S& s, const sink_window_options& options,
                       const sink_window_attend_options& more = {}) {
  tensor<4> o(scalar_type::f64, s.o.extents());
  tensor<3> lse(scalar_type::f64, s.lse.extents());
  reference(s, options, more, o, lse);
  return std::max(largest_difference(s.o, o), largest_difference(s.lse, lse));
}

constexpr sink_window_keys both_forms[] = {sink_window_keys::rotated, sink_window_keys::unrotated};

template <class TQ, class TK, class TV, class TO>
double largest_error(sink_window_keys keys, std::int64_t chunk) {
  stream<TQ, TK, TV, TO> s(70);
  const auto options = with(3, 9, 0, keys);
  auto cache = s.cache_with(options);
  s.attend_in(cache, chunk);
  return error_of_stream(s, options);
}

}  // namespace

TEST_CASE("K01_pre_rope_keys", "[sink_window_cache]") {
  // Both forms agree with the definition at every position, past several evictions; rotated keys
  // that are read by slot would be wrong from the first one on, and only from there.
  stream<double> s(60);
  const auto options = with(3, 8);
  tensor<4> expected(scalar_type::f64, s.o.extents());
  tensor<4> wrong(scalar_type::f64, s.o.extents());
  tensor<3> lse(scalar_type::f64, s.lse.extents());
  reference(s, options, {}, wrong, lse, true);
  reference(s, options, {}, expected, lse);
  for (const sink_window_keys keys : both_forms) {
    auto cache = s.cache_with(with(3, 8, 0, keys));
    s.attend_in(cache, 1);
    CHECK(largest_difference(s.o, expected) < 1e-13);
    CHECK(largest_difference(s.lse, lse) < 1e-13);
  }
  double before = 0, after = 1;
  for (std::int64_t t = 0; t < s.tokens; ++t) {
    double difference = 0;
    for (std::int64_t h = 0; h < H; ++h) {
      difference = std::max(difference, std::abs(wrong[{0, t, h, 0}] - expected[{0, t, h, 0}]));
    }
    (t < 3 + 8 ? before : after) =
        t < 3 + 8 ? std::max(before, difference) : std::min(after, difference);
  }
  CHECK(before == 0);
  CHECK(after > 1e-4);
}

TEST_CASE("any sinks, windows, slack and chunks", "[sink_window_cache]") {
  int count = 0;
  for (const std::int64_t sinks : {0, 1, 4, 11}) {
    for (const std::int64_t window : {1, 2, 7, 30, 100}) {
      for (const std::int64_t slack : {0, 1, 5, 64}) {
        for (const std::int64_t chunk : {1, 3, 17, 80}) {
          for (const sink_window_keys keys : both_forms) {
            if (keys == sink_window_keys::unrotated && (chunk == 3 || slack == 5)) {
              continue;
            }
            stream<double> s(80);
            const auto options = with(sinks, window, slack, keys);
            auto cache = s.cache_with(options);
            s.attend_in(cache, chunk);
            const double error = error_of_stream(s, options);
            ++count;
            if (!(error < 1e-12)) {
              CAPTURE(sinks, window, slack, chunk, static_cast<int>(keys), error);
              FAIL_CHECK("differs from the definition");
            }
          }
        }
      }
    }
  }
  CHECK(count == 500);
}

TEST_CASE("every element type", "[sink_window_cache]") {
  for (const sink_window_keys keys : both_forms) {
    for (const std::int64_t chunk : {1, 16}) {
      CHECK(largest_error<float, float, float, float>(keys, chunk) < 2e-5);
      CHECK(largest_error<double, double, double, double>(keys, chunk) < 1e-12);
      CHECK(largest_error<bf16, bf16, bf16, float>(keys, chunk) < 0.03);  // keys turned and rounded
      CHECK(largest_error<f16, f16, f16, f16>(keys, chunk) < 4e-3);
      CHECK(largest_error<float, bf16, f16, float>(keys, chunk) < 0.03);
    }
  }
  // Read unrotated, only results are rounded.
  CHECK(largest_error<bf16, bf16, bf16, float>(sink_window_keys::unrotated, 1) < 2e-5);
}

TEST_CASE("scale, cap, sink logits and both layouts of pairs", "[sink_window_cache]") {
  const std::vector<double> logits{0.5, -1, 3, 0};
  const sink_window_attend_options more{
      .scale = 0.7, .sink_logits = seqmix::view(logits.data(), 4), .softcap = 2.5};
  for (const sink_window_keys keys : both_forms) {
    for (const rope_layout pairs : {rope_layout::half_split, rope_layout::interleaved}) {
      stream<double> s(50, 2);
      auto options = with(2, 10, 0, keys);
      options.rope.layout = pairs;
      auto cache = s.cache_with(options);
      s.attend_in(cache, 7, more);
      CHECK(error_of_stream(s, options, more) < 1e-12);
    }
  }
}

TEST_CASE("it is plain causal attention until something is forgotten", "[sink_window_cache]") {
  stream<float> s(40);
  auto cache = s.cache_with(with(4, 36));
  s.attend_in(cache, 40);
  const seqmix::rope_options rotation = with(4, 36).rope;
  stream<float> plain(40);
  seqmix::rope_inplace(plain.q.view<float>(), rotation);
  seqmix::rope_inplace(plain.k.view<float>(), rotation);
  seqmix::softmax_attention(plain.q.view<const float>(), plain.k.view<const float>(),
                            plain.v.view<const float>(), plain.o.view<float>(), {.causal = true});
  CHECK(s.o.all_bits() == plain.o.all_bits());
  CHECK(cache.kept() == 40);
  CHECK(cache.forgettable() == 40);
}

TEST_CASE("any strides", "[sink_window_cache]") {
  stream<float> dense(45, 2);
  auto cache = dense.cache_with(with(3, 12));
  dense.attend_in(cache, 10);
  for (const layout kind : {layout::padded, layout::strided, layout::head_first, layout::reversed,
                            layout::misaligned}) {
    stream<float> s(45, 2, kind);
    auto other = s.cache_with(with(3, 12));
    s.attend_in(other, 10);
    CHECK(largest_difference(s.o, dense.o) < 1e-5);
    CHECK(s.o.gaps_untouched());
    CHECK(s.lse.gaps_untouched());
  }
  stream<float> s(45, 2, layout::broadcast_time);
  auto other = s.cache_with(with(3, 12));
  s.attend_in(other, 10);
  CHECK(error_of_stream(s, with(3, 12)) < 1e-5);
}

TEST_CASE("neither the batch nor the executor shows in a stream's bits",
          "[sink_window_cache][threads]") {
  stream<float> s(200, 3);
  auto cache = s.cache_with(with(4, 50));
  s.attend_in(cache, 70);
  for (const int threads : {2, 3}) {
    stream<float> other(200, 3);
    auto again = other.cache_with(with(4, 50));
    pool_executor pool(threads, 5);
    other.attend_in(again, 70, {}, {.executor = pool});
    CHECK(other.o.all_bits() == s.o.all_bits());
    CHECK(other.lse.all_bits() == s.lse.all_bits());
  }
  for (std::int64_t b = 0; b < 3; ++b) {
    stream<float> one(200);
    for (auto x : {std::pair{&one.q, &s.q}, std::pair{&one.k, &s.k}, std::pair{&one.v, &s.v}}) {
      x.first->for_each(
          [&](const tensor<4>::index& i) { x.first->set(i, (*x.second)[{b, i[1], i[2], i[3]}]); });
    }
    auto alone = one.cache_with(with(4, 50));
    one.attend_in(alone, 70);
    bool same = true;
    one.o.for_each([&](const tensor<4>::index& i) {
      same &= one.o.bits(i) == s.o.bits({b, i[1], i[2], i[3]});
    });
    CHECK(same);
  }
}

TEST_CASE("a token that is not finite matters until it is evicted", "[sink_window_cache]") {
  for (const sink_window_keys keys : both_forms) {
    for (const std::int64_t chunk : {1, 13}) {
      stream<float> clean(60);
      stream<float> dirty(60);
      constexpr std::int64_t bad = 20, window = 9;
      for (std::int64_t h = 0; h < HK; ++h) {
        dirty.k.set({0, bad, h, 3}, std::numeric_limits<double>::quiet_NaN());
        dirty.v.set({0, bad, h, 2}, std::numeric_limits<double>::infinity());
      }
      const auto options = with(3, window, 0, keys);
      auto clean_cache = clean.cache_with(options);
      auto dirty_cache = dirty.cache_with(options);
      clean.attend_in(clean_cache, chunk);
      dirty.attend_in(dirty_cache, chunk);
      bool spread = false, reached = true;
      clean.o.for_each([&](const tensor<4>::index& i) {
        const bool sees_it = i[1] >= bad && i[1] < bad + window;
        spread |= !sees_it && clean.o.bits(i) != dirty.o.bits(i);
        reached &= !sees_it || std::isnan(dirty.o[i]);
      });
      CAPTURE(static_cast<int>(keys), chunk);
      CHECK_FALSE(spread);
      CHECK(reached);
    }
  }
}

TEST_CASE("memory does not grow with the stream", "[sink_window_cache]") {
  stream<float> s(30);
  auto cache = s.cache_with(with(2, 10));
  const std::size_t bytes = cache.bytes();
  CHECK(bytes == (2 + 10 + 10) * HK * (D + V) * sizeof(float));
  const auto go_on = [&] {
    for (const std::int64_t chunk : {30, 1, 7}) {
      for (std::int64_t t = 0; t < 30; t += chunk) {
        s.attend(cache, t, std::min<std::int64_t>(30, t + chunk));
      }
    }
  };
  go_on();
  const long before = allocations;
  for (int round = 0; round < 20; ++round) {
    go_on();
  }
  CHECK(allocations == before);
  CHECK(cache.bytes() == bytes);
  CHECK(cache.length() == 21 * 90);
  CHECK(cache.kept() == 12);
}

TEST_CASE("the newest tokens can be taken back", "[sink_window_cache]") {
  for (const sink_window_keys keys : both_forms) {
    stream<double> expected(120);
    auto straight = expected.cache_with(with(3, 16, 0, keys, 5));
    expected.attend_in(straight, 1);
    stream<double> s(120);
    auto cache = s.cache_with(with(3, 16, 6, keys, 5));
    std::uint64_t seed = 7;
    std::int64_t longest = 0;
    int undone = 0;
    while (cache.length() < 120) {
      seed = mix(seed);
      const std::int64_t from = cache.length();
      const std::int64_t to =
          std::min<std::int64_t>(120, from + 1 + static_cast<std::int64_t>(seed % 8));
      s.attend(cache, from, to);
      longest = std::max(longest, to);
      const std::int64_t back = static_cast<std::int64_t>(seed / 8 % 6);
      const std::int64_t length = std::max(to - back, longest - 5);
      if (to < 120 && length >= 0 && length < to) {
        CHECK(cache.forgettable() >= to - length);
        cache.truncate(length);
        ++undone;
      }
    }
    CHECK(undone > 10);
    CHECK(largest_difference(s.o, expected.o) < 1e-12);
    CHECK(largest_difference(s.lse, expected.lse) < 1e-12);
  }
}

TEST_CASE("a stream that begins anew", "[sink_window_cache]") {
  stream<float> s(50);
  auto cache = s.cache_with(with(4, 10));
  s.attend_in(cache, 8);
  const auto first = s.o.all_bits();
  for (const std::int64_t length : {0, 3, 4}) {
    cache.truncate(length);
    CHECK(cache.length() == length);
    s.attend_in(cache, 8);
    CHECK(largest_difference(s.o, [&] {
            stream<float> other(50);
            auto fresh = other.cache_with(with(4, 10));
            other.attend_in(fresh, 8);
            return other.o;
          }()) < 1e-5);
  }
  cache.truncate(0);
  s.attend_in(cache, 8);
  CHECK(s.o.all_bits() == first);
}

TEST_CASE("what the window reaches back to must be there", "[sink_window_cache][errors]") {
  stream<float> s(60);
  auto cache = s.cache_with(with(4, 10, 6, sink_window_keys::rotated, 2));
  s.attend_in(cache, 1);
  const std::int64_t least = 60 - cache.forgettable();
  CHECK(cache.forgettable() >= 2);
  CHECK(cache.forgettable() <= 8);
  const seqmix::error e = error_of([&] { cache.truncate(least - 1); });
  CHECK(e.operator_name() == "sink_window_cache");
  CHECK(e.argument() == "length");
  CHECK(e.expected() == "at least " + std::to_string(least) +
                            ", or at most the 4 sinks: the window before that is gone");
  CHECK(e.actual() == std::to_string(least - 1));
  CHECK(cache.length() == 60);
  CHECK(error_of([&] { cache.truncate(-1); }).actual() == "-1");
  cache.truncate(least);
  CHECK(cache.length() == least);
  CHECK(cache.forgettable() == 0);
  cache.truncate(100);
  CHECK(cache.length() == least);
  s.o.clear();
  auto whole = s.cache_with(with(4, 10));
  s.attend(whole, 0, least);
  s.attend_in(cache, 1);  // from the least length on, nothing is missing
  CHECK(error_of_stream(s, with(4, 10)) < 1e-5);
}

TEST_CASE("a sink_window_cache refuses what it cannot honour", "[sink_window_cache][errors]") {
  stream<float> s(6, 2);
  const auto options = with(2, 8);
  auto cache = s.cache_with(options);
  s.attend(cache, 0, 3);
  s.o.clear();
  s.lse.clear();
  const auto q = s.q.view<const float>(), k = s.k.view<const float>(), v = s.v.view<const float>();
  const auto o = s.o.view<float>();
  const auto check = [&](const seqmix::error& e, const std::string& argument,
                         const std::string& expected, const std::string& actual) {
    CHECK(e.operator_name() == "sink_window_cache");
    CHECK(e.argument() == argument);
    CHECK(e.expected() == expected);
    CHECK(e.actual() == actual);
    CHECK(cache.length() == 3);
    CHECK(s.o.untouched());
    CHECK(s.lse.untouched());
  };
  check(error_of([&] { cache.attend(q, k.slice(0, 0, 1), v, o); }), "k",
        "[B, n, HK, D] = [2, 6, 2, 12]", "[1, 6, 2, 12]");
  check(error_of([&] { cache.attend(q, k, v.slice(3, 0, 2), o); }), "v",
        "[B, n, HK, V] = [2, 6, 2, 7]", "[2, 6, 2, 2]");
  check(error_of([&] { cache.attend(q.slice(1, 0, 5), k, v, o); }), "q", "6 tokens, as k has", "5");
  const auto odd = [&](const auto& x) { return x.slice(2, 0, 3); };
  const seqmix::error uneven = error_of([&] { seqmix::softmax_attention(odd(q), k, v, odd(o)); });
  check(error_of([&] { cache.attend(odd(q), k, v, odd(o)); }), uneven.argument(), uneven.expected(),
        uneven.actual());
  check(error_of([&] { cache.attend(q, k, v, o.slice(1, 0, 5)); }), "o",
        "[B, T, H, V] = [2, 6, 4, 7]", "[2, 5, 4, 7]");
  check(error_of([&] { cache.attend(q, k, v, o, {.softcap = -1}); }), "options.softcap",
        error_of([&] { seqmix::softmax_attention(q, k, v, o, {.softcap = -1}); }).expected(),
        error_of([&] { seqmix::softmax_attention(q, k, v, o, {.softcap = -1}); }).actual());
  check(error_of([&] { cache.attend(q, k, v, o, {.lse = s.lse.view<double>().slice(2, 0, 2)}); }),
        "options.lse", "[B, H, T] = [2, 4, 6]", "[2, 4, 2]");
  check(error_of([&] { cache.attend(q, k, v, o, {}, {.device = seqmix::device_policy::cuda}); }),
        "context.device", "the CPU, where the cache lies", "cuda");
  check(error_of([&] { cache.attend(q, k, v, o, {}, {.pin = {.algorithm = "tiled"}}); }),
        "context.pin", "no value (several operators run)", "a value");
  std::vector<std::byte> memory(1000);
  check(error_of([&] { cache.attend(q, k, v, o, {}, {.workspace = memory}); }), "context.workspace",
        "no value (scratch is the thread's)", "a value");

  const auto refused = [&](auto change, const std::string& argument) {
    sink_window_options wrong = options;
    change(wrong);
    const seqmix::error e = error_of([&] { s.cache_with(wrong); });
    CHECK(e.operator_name() == "sink_window_cache");
    CHECK(e.argument() == argument);
  };
  const std::int64_t position = 0;
  refused([](auto& x) { x.window = 0; }, "options.window");
  refused([](auto& x) { x.sinks = -1; }, "options.sinks");
  refused([](auto& x) { x.rollback = -1; }, "options.rollback");
  refused([](auto& x) { x.slack = -1; }, "options.slack");
  refused([](auto& x) { x.rope.layout = rope_layout::unspecified; }, "options.rope.layout");
  refused([](auto& x) { x.rope.rotary_dims = 14; }, "options.rope.rotary_dims");
  refused([](auto& x) { x.rope.base = 0; }, "options.rope.base");
  refused([](auto& x) { x.rope.position_offset = 1; }, "options.rope.position_offset");
  refused([](auto& x) { x.rope.axes = seqmix::rope_axes::sum; }, "options.rope.axes");
  refused([&](auto& x) { x.rope.positions = seqmix::view(&position, 1, 1); },
          "options.rope.positions");
}

TEST_CASE("no tokens are no change", "[sink_window_cache]") {
  stream<float> s(20);
  auto cache = s.cache_with(with(2, 4));
  s.attend(cache, 0, 0);
  CHECK(cache.length() == 0);
  s.attend(cache, 0, 20);
  s.attend(cache, 20, 20);
  CHECK(cache.length() == 20);
}

TEST_CASE("far positions keep their angles", "[sink_window_cache]") {
  // What the cache relies on: a score of rotated vectors depends on the distance only, however far
  // the stream has come.
  for (const auto& [position, tolerance] :
       {std::pair{std::int64_t{1} << 29, 1e-6}, std::pair{std::int64_t{1} << 40, 1e-2}}) {
    stream<double> s(16);
    double worst = 0;
    const auto scores = [&](std::int64_t offset) {
      stream<double> turned(16);
      seqmix::rope_options rotation{.layout = rope_layout::half_split};
      rotation.position_offset = offset;
      seqmix::rope_inplace(turned.q.view<double>(), rotation);
      seqmix::rope_inplace(turned.k.view<double>(), rotation);
      std::vector<double> all;
      for (std::int64_t i = 0; i < 16; ++i) {
        for (std::int64_t j = 0; j < 16; ++j) {
          double sum = 0;
          for (std::int64_t d = 0; d < D; ++d) {
            sum += turned.q[{0, i, 0, d}] * turned.k[{0, j, 0, d}];
          }
          all.push_back(sum);
        }
      }
      return all;
    };
    const auto near = scores(0), far = scores(position);
    for (std::size_t i = 0; i < near.size(); ++i) {
      worst = std::max(worst, std::abs(near[i] - far[i]));
    }
    CAPTURE(position, worst);
    CHECK(worst < tolerance);
  }
}
