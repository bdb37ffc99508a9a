// SPDX-License-Identifier: Apache-2.0
// Prints what ran, and a hash of the result's bits, for calls of every element type. Compiled for
// the baseline with seqmix::multiarch, and for each instruction set with the header alone: see
// bits.cmake.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <vector>

namespace {

template <class T>
std::vector<T> normal(std::int64_t n, unsigned seed) {
  std::mt19937 bits(seed);
  std::vector<T> x;
  for (std::int64_t i = 0; i < n; ++i) {
    // Sums of uniform numbers: the standard's normal distribution may differ between libraries.
    double sum = 0;
    for (int k = 0; k < 4; ++k) {
      sum += static_cast<double>(bits()) / 4294967296.0 - 0.5;
    }
    x.push_back(static_cast<T>(static_cast<float>(1.7 * sum)));
  }
  return x;
}

template <class T>
std::uint64_t hash_of(const std::vector<T>& x) {
  std::uint64_t h = 14695981039346656037u;  // FNV-1a
  const auto* bytes = reinterpret_cast<const unsigned char*>(x.data());
  for (std::size_t i = 0; i < x.size() * sizeof(T); ++i) {
    h = (h ^ bytes[i]) * 1099511628211u;
  }
  return h;
}

template <class TQ, class TK>
void attend(const char* types, std::int64_t queries, std::int64_t keys, std::int64_t dim) {
  constexpr std::int64_t heads = 6;
  constexpr std::int64_t kv_heads = 2;
  const std::vector<TQ> q = normal<TQ>(queries * heads * dim, 1);
  const std::vector<TK> k = normal<TK>(keys * kv_heads * dim, 2);
  const std::vector<TK> v = normal<TK>(keys * kv_heads * dim, 3);
  std::vector<TQ> o(q.size());
  const auto call = [&](const auto& verb) {
    return verb(seqmix::view(q.data(), 1, queries, heads, dim),
                seqmix::view(k.data(), 1, keys, kv_heads, dim),
                seqmix::view(v.data(), 1, keys, kv_heads, dim),
                seqmix::view(o.data(), 1, queries, heads, dim),
                seqmix::softmax_attention_options{.causal = true});
  };
  call(seqmix::softmax_attention);
  const seqmix::dispatch_report report = call(seqmix::softmax_attention.explain);
  std::printf("%s, %lld queries, %lld keys, dimension %lld: %s, %s, %016llx\n", types,
              static_cast<long long>(queries), static_cast<long long>(keys),
              static_cast<long long>(dim), report.target.c_str(), report.algorithm.c_str(),
              static_cast<unsigned long long>(hash_of(o)));
}

template <class TQ, class TK>
void attend_all(const char* types) {
  attend<TQ, TK>(types, 70, 133, 64);  // tiles
  attend<TQ, TK>(types, 1, 700, 128);  // split over the keys
  attend<TQ, TK>(types, 33, 33, 20);   // no whole registers
}

template <class T>
void recur(const char* type, std::int64_t tokens) {
  constexpr std::int64_t heads = 3;
  constexpr std::int64_t dim = 64;
  const std::vector<T> q = normal<T>(tokens * heads * dim, 1);
  const std::vector<T> k = normal<T>(tokens * heads * dim, 2);
  const std::vector<T> v = normal<T>(tokens * heads * dim, 3);
  std::vector<T> g = normal<T>(tokens * heads, 4);
  for (T& x : g) {
    x = static_cast<T>(-0.1f * std::fabs(static_cast<float>(x)));
  }
  const std::vector<T> beta(g.size(), static_cast<T>(0.5f));
  std::vector<T> o(q.size());
  const auto rows = [&](const std::vector<T>& x) {
    return seqmix::view(x.data(), 1, tokens, heads, dim);
  };
  const auto numbers = [&](const std::vector<T>& x) {
    return seqmix::tensor_view<const T, 3>(x.data(), {1, tokens, heads});
  };
  const auto call = [&](const auto& verb) {
    return verb(rows(q), rows(k), rows(v), numbers(g), numbers(beta),
                seqmix::view(o.data(), 1, tokens, heads, dim),
                seqmix::recurrence_options{.l2norm = true});
  };
  call(seqmix::gated_delta_rule);
  const seqmix::dispatch_report report = call(seqmix::gated_delta_rule.explain);
  std::printf("gated delta rule, %s, %lld tokens: %s, %s, %016llx\n", type,
              static_cast<long long>(tokens), report.target.c_str(), report.algorithm.c_str(),
              static_cast<unsigned long long>(hash_of(o)));
}

}  // namespace

int main() {
  for (const std::int64_t tokens : {1, 50, 300}) {
    recur<float>("f32", tokens);
    recur<double>("f64", tokens);
    recur<seqmix::bf16>("bf16", tokens);
  }
  attend_all<float, float>("f32");
  attend_all<double, double>("f64");
  attend_all<seqmix::f16, seqmix::f16>("f16");
  attend_all<seqmix::bf16, seqmix::bf16>("bf16");
  attend_all<float, seqmix::f16>("f32 over f16");
  attend_all<float, seqmix::bf16>("f32 over bf16");
}
