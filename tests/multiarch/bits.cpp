// SPDX-License-Identifier: Apache-2.0
// Prints what ran, and a hash of the result's bits, for calls of every element type. Compiled for
// the baseline with seqmix::multiarch, and for each instruction set with the header alone: see
// bits.cmake.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/depthwise_conv1d/depthwise_conv1d.hpp>
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/selective_scan/selective_scan.hpp>
#include <seqmix/ops/selective_state_update/selective_state_update.hpp>
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

/// Runs an operator whose arguments `with` gives to a verb, and prints what it left in `y`.
template <class T>
void print_call(const char* name, const char* type, const std::vector<T>& y, const auto& op,
                const auto& with) {
  with(op);
  const seqmix::dispatch_report report = with(op.explain);
  std::printf("%s, %s: %s, %s, %016llx\n", name, type, report.target.c_str(),
              report.algorithm.c_str(), static_cast<unsigned long long>(hash_of(y)));
}

template <class T>
void scan_and_convolve(const char* type) {
  constexpr std::int64_t tokens = 70;
  constexpr std::int64_t channels = 43;
  constexpr std::int64_t N = 16;
  const std::vector<T> u = normal<T>(tokens * channels, 1);
  const std::vector<T> delta = normal<T>(tokens * channels, 2);
  std::vector<T> A = normal<T>(channels * N, 3);
  for (T& x : A) {
    x = static_cast<T>(-std::fabs(static_cast<float>(x)));
  }
  const std::vector<T> B = normal<T>(tokens * N, 4);
  const std::vector<T> C = normal<T>(tokens * N, 5);
  const std::vector<T> weight = normal<T>(channels * 4, 6);
  std::vector<T> state = normal<T>(channels * N, 7);
  std::vector<T> y(u.size());
  const auto rows = [&](const std::vector<T>& x) {
    return seqmix::view(x.data(), 1, tokens, channels);
  };
  const auto numbers = [&](const std::vector<T>& x) {
    return seqmix::view(x.data(), 1, tokens, 1, N);
  };
  const auto out = seqmix::view(y.data(), 1, tokens, channels);
  print_call("selective scan", type, y, seqmix::selective_scan, [&](const auto& verb) {
    return verb(rows(u), rows(delta), seqmix::view(A.data(), channels, N), numbers(B), numbers(C),
                out, seqmix::selective_scan_options{.delta_softplus = true});
  });
  const auto first = [&](auto* x) { return seqmix::view(x, 1, 1, channels); };
  const auto explained = [&](const auto& verb) {
    return verb(seqmix::view(state.data(), 1, channels, N), first(u.data()), first(delta.data()),
                seqmix::view(A.data(), channels, N), seqmix::view(B.data(), 1, 1, 1, N),
                seqmix::view(C.data(), 1, 1, 1, N), first(y.data()),
                seqmix::selective_state_update_options{.delta_softplus = true});
  };
  print_call("selective state update", type, state, seqmix::selective_state_update, explained);
  const auto convolve = [&](const auto& verb) {
    return verb(rows(u), seqmix::view(weight.data(), channels, 4), out);
  };
  print_call("scan of log-sum-exp", type, y, seqmix::elementwise_scan, [&](const auto& verb) {
    return verb(rows(u), out, seqmix::scan_options{.monoid = seqmix::scan_monoid::log_sum_exp});
  });
  print_call("causal convolution", type, y, seqmix::causal_conv1d, convolve);
  print_call("convolution", type, y, seqmix::depthwise_conv1d, convolve);
}

}  // namespace

int main() {
  scan_and_convolve<float>("f32");
  scan_and_convolve<double>("f64");
  scan_and_convolve<seqmix::bf16>("bf16");
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
