// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>
#include <seqmix/common/math.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <vector>

#include "support/bench.hpp"
#include "support/data.hpp"
#include "support/probes.hpp"

namespace seqmix_bench {

namespace {

using seqmix::tensor_view;

/// One call. T queries against S keys for each of B sequences, or packed sequences.
struct row {
  std::string group;
  std::string algorithm{};       // empty: what dispatch chooses
  std::string implementation{};  // likewise
  std::int64_t B = 1, T = 1, S = 1, H = 1, HK = 1, D = 64;
  bool causal = false;
  std::int64_t window = seqmix::unbounded;  // keys to the left
  std::vector<std::int64_t> queries{};      // of each packed sequence; empty: batched
  std::vector<std::int64_t> keys{};
  seqmix::attention_normaliser normaliser{};
  std::int64_t sink_tokens = 0;
  double softcap = 0;
  bool sink_logits = false, alibi = false;
  enum class functors { none, squash, soft_cap } functor = functors::none;

  bool packed() const { return !queries.empty(); }
  bool cached() const { return group == "decode"; }
  /// Few queries only stream the cache: successive calls then take other caches, so that each
  /// comes from memory.
  bool streams() const { return cached() || group == "short"; }
  seqmix::softmax_attention_options options() const {
    return {.causal = causal,
            .window = {.left = window},
            .sink_tokens = sink_tokens,
            .softcap = softcap,
            .normaliser = normaliser};
  }
};

/// A functor of a few operations and no call: large scores less, and less still far away.
struct squash {
  float operator()(float score, const seqmix::score_context& at) const {
    const auto distance = static_cast<int>(at.query + at.keys - at.queries - at.key);
    return score / (1 + std::fabs(score) * 0.125f) - 0x1p-10f * static_cast<float>(distance);
  }
};

/// Softcap as a functor of one's own.
struct soft_cap {
  float cap = 50;
  float inverse = 1 / cap;
  float operator()(float score, const seqmix::score_context&) const {
    return cap * seqmix::math::tanh(score * inverse);
  }
};

/// `f(functor)` of a row that has one.
template <class F>
auto with_functor(const row& r, F f) {
  return r.functor == row::functors::squash ? f(squash{}) : f(soft_cap{});
}

/// Types of one row: queries and output, and the cache.
template <class T, class KV>
std::string types_name() {
  std::string name = type_name<T>;
  return std::is_same_v<T, KV> ? name : name + "_over_" + type_name<KV>;
}

template <class T, class KV>
std::string name_of(const row& r) {
  std::string name = "softmax_attention/" + r.group + "/";
  name += !r.implementation.empty() ? r.implementation : r.algorithm.empty() ? "auto" : r.algorithm;
  const auto field = [&](const char* key, std::int64_t value) {
    name += std::string("/") + key + ":" + std::to_string(value);
  };
  if (r.packed()) {
    field("N", static_cast<std::int64_t>(r.queries.size()));
  } else if (r.B != 1) {
    field("B", r.B);
  }
  field("T", r.T);
  if (r.S != r.T) {
    field("S", r.S);
  }
  field("H", r.H);
  field("HK", r.HK);
  field("D", r.D);
  field("causal", r.causal ? 1 : 0);
  if (r.window != seqmix::unbounded) {
    field("W", r.window);
  }
  if (r.sink_tokens != 0) {
    field("sinks", r.sink_tokens);
  }
  return name + "/" + types_name<T, KV>();
}

/// The tensors of a row. Packed sequences are T queries and S keys in all.
template <class T, class KV>
struct tensors {
  tensors(const row& r, std::int64_t caches)
      : copies(caches),
        q(r.B * r.T * r.H * r.D, 1),
        o(r.B * r.T * r.H * r.D, 4),
        k(caches * r.B * r.S * r.HK * r.D, 2),
        v(caches * r.B * r.S * r.HK * r.D, 3),
        scales(std::is_same_v<KV, std::int8_t> ? caches * r.B * r.S * r.HK : 0, 5),
        of_heads(static_cast<std::size_t>(r.H)),
        q_offsets{0},
        k_offsets{0} {
    for (std::size_t i = 0; i < r.queries.size(); ++i) {
      q_offsets.push_back(q_offsets.back() + r.queries[i]);
      k_offsets.push_back(k_offsets.back() + r.keys[i]);
    }
    for (std::int64_t h = 0; h < r.H; ++h) {
      of_heads[static_cast<std::size_t>(h)] =
          std::exp2(-8 * static_cast<float>(h + 1) / static_cast<float>(r.H));
    }
    if constexpr (std::is_same_v<KV, std::int8_t>) {
      random_source random(7);
      for (const auto* x : {&k, &v}) {
        for (std::int64_t i = 0; i < x->size(); ++i) {
          x->data()[i] = static_cast<std::int8_t>(random.below(255) - 127);
        }
      }
      for (std::int64_t i = 0; i < scales.size(); ++i) {
        scales.data()[i] = (1.5f + scales.data()[i]) / 127;
      }
    }
  }

  /// Keys and values of `count` rows from row `first` on of all caches, of `batch` sequences.
  seqmix::kv_view<KV, KV> cache(const row& r, std::int64_t first, std::int64_t batch,
                                std::int64_t count) const {
    seqmix::kv_layout how;
    if constexpr (std::is_same_v<KV, std::int8_t>) {
      how.k_scale = tensor_view<const float, 3>(scales.data() + first * r.HK, {batch, count, r.HK});
      how.v_scale = how.k_scale;
    }
    const std::int64_t at = first * r.HK * r.D;
    return {tensor_view<const KV, 4>(k.data() + at, {batch, count, r.HK, r.D}),
            tensor_view<const KV, 4>(v.data() + at, {batch, count, r.HK, r.D}), how};
  }
  /// The options of a row, with what lies in memory, for query heads from `head` on.
  seqmix::softmax_attention_options options(const row& r, std::int64_t head,
                                            std::int64_t heads) const {
    seqmix::softmax_attention_options all = r.options();
    const tensor_view<const float, 1> vector(of_heads.data() + head, {heads});
    if (r.alibi) {
      all.alibi_slopes = vector;
    }
    if (r.sink_logits) {
      all.sink_logits = vector;
    }
    return all;
  }

  std::int64_t copies;  // of k and v
  random_array<T> q, o;
  random_array<KV> k, v;
  random_array<float> scales;   // of int8 keys and of int8 values
  std::vector<float> of_heads;  // slopes, sink logits
  std::vector<std::int64_t> q_offsets, k_offsets;
};

/// One sequence by itself.
template <class T, class KV>
struct sequence {
  tensor_view<const T, 4> q;   // [1, T, H, D]
  seqmix::kv_view<KV, KV> kv;  // [1, S, HK, D]
  tensor_view<T, 4> o;
};

template <class T, class KV>
std::vector<sequence<T, KV>> sequences_of(const row& r, const tensors<T, KV>& t) {
  std::vector<sequence<T, KV>> all;
  const std::int64_t count = r.packed() ? static_cast<std::int64_t>(r.queries.size()) : r.B;
  for (std::int64_t b = 0; b < count; ++b) {
    const auto at = static_cast<std::size_t>(b);
    const std::int64_t queries = r.packed() ? r.queries[at] : r.T;
    const std::int64_t keys = r.packed() ? r.keys[at] : r.S;
    const std::int64_t first_query = (r.packed() ? t.q_offsets[at] : b * r.T) * r.H * r.D;
    all.push_back({{t.q.data() + first_query, {1, queries, r.H, r.D}},
                   t.cache(r, r.packed() ? t.k_offsets[at] : b * r.S, 1, keys),
                   {t.o.data() + first_query, {1, queries, r.H, r.D}}});
  }
  return all;
}

/// `f(q, k, v, o, options)`, or its packed or cached form, with the k and v that call `i` reads; of
/// a row with a functor, `f(q, k, v, o, functor, options)`.
template <class T, class KV, class F>
auto with_arguments(const row& r, const tensors<T, KV>& t, std::int64_t i, F f) {
  seqmix::softmax_attention_options options = t.options(r, 0, r.H);
  const std::int64_t first = i % t.copies * r.B * r.S;
  const seqmix::kv_view<KV, KV> kv = t.cache(r, first, r.B, r.S);
  if constexpr (std::is_same_v<T, KV>) {
    if (r.packed()) {
      const auto entries = static_cast<std::int64_t>(t.q_offsets.size());
      options.varlen.q_offsets = tensor_view<const std::int64_t, 1>(t.q_offsets.data(), {entries});
      options.varlen.k_offsets = tensor_view<const std::int64_t, 1>(t.k_offsets.data(), {entries});
      return f(seqmix::view(t.q.data(), r.T, r.H, r.D),
               seqmix::view(kv.k.data_handle(), r.S, r.HK, r.D),
               seqmix::view(kv.v.data_handle(), r.S, r.HK, r.D),
               seqmix::view(t.o.data(), r.T, r.H, r.D), options);
    }
  }
  const auto q = seqmix::view(t.q.data(), r.B, r.T, r.H, r.D);
  const auto o = seqmix::view(t.o.data(), r.B, r.T, r.H, r.D);
  if constexpr (std::is_same_v<T, float> && std::is_same_v<KV, float>) {
    if (r.functor != row::functors::none) {
      return with_functor(
          r, [&](const auto& functor) { return f(q, kv.k, kv.v, o, functor, options); });
    }
  }
  if constexpr (std::is_same_v<T, KV>) {
    if (!r.cached()) {
      return f(q, kv.k, kv.v, o, options);
    }
  }
  return f(q, kv, o, options);
}

/// Query rows that the gate compares, 16 channels each.
constexpr std::int64_t gate_rows = 24;

/// Compares a sample of the result with the oracle. Query i of a causal row alone is the last
/// query of the keys up to its diagonal.
template <class T, class KV>
std::string check(const row& r, const tensors<T, KV>& t) {
  if (!t.o.all_finite()) {
    return "elements that are not finite";
  }
  random_source random(5);
  const auto all = sequences_of(r, t);
  for (std::int64_t n = 0; n < gate_rows; ++n) {
    const auto& s = all[static_cast<std::size_t>(n) % all.size()];
    const std::int64_t queries = s.q.extent(1);
    const std::int64_t i = n == 0 ? 0 : n == 1 ? queries - 1 : random.below(queries);
    const std::int64_t head = random.below(r.H);
    const std::int64_t kv_head = head / (r.H / r.HK);
    const std::int64_t channels = std::min<std::int64_t>(r.D, 16);
    const std::int64_t channel = random.below(r.D - channels + 1);
    const std::int64_t keys =
        r.causal ? std::max<std::int64_t>(s.kv.k.extent(1) - queries + i + 1, 0) : s.kv.k.extent(1);
    std::vector<T> expected(static_cast<std::size_t>(channels));
    const auto reference = seqmix::view(expected.data(), 1, 1, 1, channels);
    seqmix::kv_layout how;
    if constexpr (std::is_same_v<KV, std::int8_t>) {
      const tensor_view<const float, 3> scales(static_cast<const float*>(s.kv.layout.k_scale.data),
                                               {1, s.kv.k.extent(1), r.HK});
      how.k_scale = scales.slice(1, 0, keys).slice(2, kv_head, 1);
      how.v_scale = how.k_scale;
    }
    const auto q = s.q.slice(1, i, 1).slice(2, head, 1);
    const seqmix::kv_view kv(
        s.kv.k.slice(1, 0, keys).slice(2, kv_head, 1),
        s.kv.v.slice(1, 0, keys).slice(2, kv_head, 1).slice(3, channel, channels), how);
    const auto options = t.options(r, head, 1);
    if (r.functor != row::functors::none) {
      with_functor(r, [&](const auto& functor) {
        seqmix::naive_softmax_attention(q, kv, reference, functor, options);
      });
    } else {
      seqmix::naive_softmax_attention(q, kv, reference, options);
    }
    const auto got = s.o.slice(1, i, 1).slice(2, head, 1).slice(3, channel, channels);
    // AMX rounds the weights, too.
    const double allowed = (r.implementation == "amx" ? 2 : 1) * tolerance<T>;
    const std::string fault = compare(got, reference, allowed);
    if (!fault.empty()) {
      return fault + ", query " + std::to_string(i) + " head " + std::to_string(head);
    }
  }
  return {};
}

template <class T, class KV>
work work_of(const row& r, const tensors<T, KV>& t) {
  double pairs = 0;
  for (const auto& s : sequences_of(r, t)) {
    const seqmix::visibility mask{.queries = s.q.extent(1),
                                  .keys = s.kv.k.extent(1),
                                  .causal = r.causal,
                                  .window = {.left = r.window},
                                  .sink_tokens = r.sink_tokens};
    for (std::int64_t i = 0; i < mask.queries; ++i) {
      pairs += static_cast<double>(mask.row(i).count());
    }
  }
  const double cache = static_cast<double>((t.k.size() + t.v.size()) / t.copies) * sizeof(KV) +
                       static_cast<double>(2 * t.scales.size() / t.copies) * sizeof(float);
  return {.flops = 4 * static_cast<double>(r.H * r.D) * pairs,
          .bytes = static_cast<double>(2 * t.q.size()) * sizeof(T) + cache,
          .compute = seqmix::scalar_type_of<T>};
}

template <class T, class KV>
void run(benchmark::State& state, const row& r, const std::string& name, int threads) {
  const auto& t = hold<tensors<T, KV>>(name_of<T, KV>(r), [&] {
    const std::int64_t cache_bytes = 2 * r.B * r.S * r.HK * r.D * std::int64_t{sizeof(KV)};
    const std::int64_t copies =
        r.streams() ? (4 * last_level_cache_bytes() + cache_bytes - 1) / cache_bytes : 1;
    return std::make_shared<tensors<T, KV>>(r, copies);
  });
  team workers(threads);
  seqmix::context ctx{.pin = {.implementation = r.implementation, .algorithm = r.algorithm}};
  if (threads > 1) {
    ctx.executor = workers;
  }
  const auto call = [&](std::int64_t i) {
    with_arguments(r, t, i, [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
  };
  const bool right = passes_gate(state, name, [&] {
    t.o.poison();
    call(0);
    return check(r, t);
  });
  if (right) {
    const auto report = with_arguments(
        r, t, 0, [&](const auto&... a) { return seqmix::softmax_attention.explain(a..., ctx); });
    state.SetLabel(report.implementation + " " + report.algorithm);
    measure(state, work_of(r, t), ctx.executor, call);
  }
}

template <class T, class KV = T>
void add(const settings& s, const row& r) {
  add_row(s, name_of<T, KV>(r), [r](benchmark::State& state, const std::string& name, int threads) {
    run<T, KV>(state, r, name, threads);
  });
}

row square(std::int64_t tokens, std::int64_t dim, bool causal, std::int64_t heads = 1,
           std::int64_t kv_heads = 1) {
  return {.group = "prefill",
          .T = tokens,
          .S = tokens,
          .H = heads,
          .HK = kv_heads,
          .D = dim,
          .causal = causal};
}

row cache(std::int64_t batch, std::int64_t keys, std::int64_t heads, std::int64_t kv_heads) {
  return {.group = "decode",
          .B = batch,
          .T = 1,
          .S = keys,
          .H = heads,
          .HK = kv_heads,
          .D = 128,
          .causal = true};
}

row few(std::int64_t queries, std::int64_t keys, const char* algorithm = "") {
  return {.group = "short",
          .algorithm = algorithm,
          .T = queries,
          .S = keys,
          .H = 8,
          .HK = 2,
          .D = 128,
          .causal = true};
}

row packed(const char* group, std::vector<std::int64_t> queries, std::vector<std::int64_t> keys) {
  row r{.group = group, .T = 0, .S = 0, .H = 8, .HK = 2, .D = 128, .causal = true};
  for (std::size_t i = 0; i < queries.size(); ++i) {
    r.T += queries[i];
    r.S += keys[i];
  }
  r.queries = std::move(queries);
  r.keys = std::move(keys);
  return r;
}

/// A square call with weights by another rule, in a group of the rule's name.
row weighted(const char* rule, const seqmix::attention_normaliser& how) {
  row r = square(4096, 64, false);
  r.group = rule;
  r.normaliser = how;
  return r;
}

void add_weights(const settings& s) {
  using weights = seqmix::attention_weights;
  add<float>(s, weighted("sigmoid", {.weights = weights::sigmoid, .shift = -8}));
  add<float>(s, weighted("softplus", {.weights = weights::softplus}));
  // Causal, since the gate computes each row as the last one of its keys, and places count.
  row reweighted = weighted("reweighted", {.weights = weights::softplus, .sharpen = 15});
  reweighted.causal = true;
  add<float>(s, reweighted);
  add<float>(s, weighted("relu", {.weights = weights::relu, .mean = true}));
  add<float>(s, weighted("none", {.weights = weights::none, .mean = true}));
  for (const char* algorithm : {"two_pass", "three_pass"}) {
    row passes = square(4096, 64, false);
    passes.algorithm = algorithm;
    add<float>(s, passes);
  }
}

/// A square call in a group of its own, after `change`.
template <class F>
row changed(const char* group, std::int64_t tokens, std::int64_t dim, bool causal, F&& change) {
  row r = square(tokens, dim, causal);
  r.group = group;
  change(r);
  return r;
}

/// What each extra costs: beside the rows of `prefill` with the same tokens and dimension.
void add_extras(const settings& s, std::int64_t tokens, const std::vector<std::int64_t>& dims) {
  for (const std::int64_t dim : dims) {
    for (const bool causal : {false, true}) {
      add<float>(s, changed("softcap", tokens, dim, causal, [](row& r) { r.softcap = 50; }));
      add<float>(s,
                 changed("sink_logits", tokens, dim, causal, [](row& r) { r.sink_logits = true; }));
      add<float, seqmix::bf16>(s, square(tokens, dim, causal));
      add<float, seqmix::f16>(s, square(tokens, dim, causal));
      add<float, std::int8_t>(s, square(tokens, dim, causal));
    }
    // Causal: the gate computes each row as the last one of its keys, and places count.
    add<float>(s, changed("alibi", tokens, dim, true, [](row& r) { r.alibi = true; }));
    add<float>(s, changed("functor", tokens, dim, true,
                          [](row& r) { r.functor = row::functors::squash; }));
    add<float>(s, changed("softcap_functor", tokens, dim, true,
                          [](row& r) { r.functor = row::functors::soft_cap; }));
  }
}

/// Products by AMX, where seqmix::multiarch is linked and the machine has it.
void add_tiles(const settings& s) {
  const tensors<seqmix::bf16, seqmix::bf16> one({.group = "prefill"}, 1);
  row r{.group = "prefill", .implementation = "amx"};
  const auto report = with_arguments(r, one, 0, [](const auto&... a) {
    return seqmix::softmax_attention.explain(a...,
                                             seqmix::context{.pin = {.implementation = "amx"}});
  });
  if (report.implementation != "amx") {
    return;
  }
  for (const std::int64_t dim : {64, 128, 256}) {
    for (const bool causal : {false, true}) {
      for (const std::int64_t tokens : {512, 1024, 2048, 4096, 8192}) {
        r = square(tokens, dim, causal);
        r.implementation = "amx";
        add<seqmix::bf16>(s, r);
      }
      r = square(2048, dim, causal, 8, 8);
      r.implementation = "amx";
      add<seqmix::bf16>(s, r);
    }
  }
}

void register_smoke_rows(const settings& s) {
  add<float>(s, square(200, 64, false));
  add<float>(s, square(200, 64, true, 4, 2));
  add<double>(s, square(100, 60, true));
  add<seqmix::f16>(s, square(100, 64, true));
  add<seqmix::bf16>(s, square(100, 128, false));
  row windowed = square(300, 64, true);
  windowed.window = 50;
  add<float>(s, windowed);
  add<float>(s, cache(2, 1000, 8, 2));
  add<seqmix::bf16>(s, cache(1, 1000, 8, 2));
  add<float, std::int8_t>(s, cache(1, 1000, 8, 2));
  add<float>(s, few(5, 700));
  add_extras(s, 200, {64});
  row passes = square(200, 64, true);
  passes.algorithm = "three_pass";
  add<float>(s, passes);
  passes = square(200, 64, true);
  passes.group = "sigmoid";
  passes.normaliser = {.weights = seqmix::attention_weights::sigmoid, .shift = -4};
  add<float>(s, passes);
  add<float>(s, packed("varlen", {100, 1, 37}, {100, 300, 80}));
}

}  // namespace

void register_rows(const settings& s) {
  if (s.smoke) {
    return register_smoke_rows(s);
  }
  for (const std::int64_t dim : {64, 128, 256}) {
    for (const bool causal : {false, true}) {
      for (const std::int64_t tokens : {512, 1024, 2048, 4096, 8192}) {
        add<float>(s, square(tokens, dim, causal));
      }
    }
  }
  add_weights(s);
  add_tiles(s);
  for (const std::int64_t dim : {64, 128}) {
    row windowed = square(16384, dim, true);
    add<float>(s, windowed);
    windowed.window = 1024;
    add<float>(s, windowed);
    windowed.sink_tokens = 4;
    add<float>(s, windowed);
  }
  add_extras(s, 2048, {64, 128});
  for (const std::int64_t dim : {64, 80, 96, 100, 128}) {
    for (const bool causal : {false, true}) {
      add<float>(s, square(1000, dim, causal));
    }
  }
  for (const std::int64_t dim : {64, 128}) {
    for (const bool causal : {false, true}) {
      const row heads = square(2048, dim, causal, 8, 8);
      add<float>(s, heads);
      add<seqmix::bf16>(s, heads);
      add<seqmix::f16>(s, heads);
      add<double>(s, heads);
      add<float>(s, square(2048, dim, causal, 8, 2));
    }
  }
  for (const std::int64_t keys : {8192, 16384, 32768, 65536}) {
    add<float>(s, cache(1, keys, 32, 8));
    add<seqmix::bf16>(s, cache(1, keys, 32, 8));
    add<float, seqmix::bf16>(s, cache(1, keys, 32, 8));
    add<float, std::int8_t>(s, cache(1, keys, 32, 8));
  }
  add<seqmix::f16>(s, cache(1, 32768, 32, 8));
  add<float>(s, cache(8, 8192, 32, 8));
  add<seqmix::bf16>(s, cache(8, 8192, 32, 8));
  for (const std::int64_t queries : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512}) {
    add<float>(s, few(queries, 32768));
  }
  // Where the choice between the two algorithms belongs.
  for (const std::int64_t queries : {2, 4, 8, 16, 32}) {
    add<float>(s, few(queries, 32768, "tiled"));
    add<float>(s, few(queries, 32768, "split_kv"));
  }
  // Prompts of mixed lengths, and one prompt chunk beside sequences that decode.
  add<float>(s, packed("varlen", {2048, 64, 512, 1024, 128, 1500, 31, 777},
                       {2048, 64, 512, 1024, 128, 1500, 31, 777}));
  std::vector<std::int64_t> queries(32, 1);
  std::vector<std::int64_t> keys(32, 2048);
  queries.front() = 512;
  add<float>(s, packed("varlen", queries, keys));
}

}  // namespace seqmix_bench
