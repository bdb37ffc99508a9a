// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <string>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

/// P partial results over [B = 1, T, H, V].
struct row {
  std::int64_t P, T, H, V;
};

template <class T>
struct tensors {
  explicit tensors(const row& r)
      : parts(r.P * r.T * r.H * r.V, 1), lse(r.P * r.H * r.T, 2), o(r.T * r.H * r.V, 3) {}
  random_array<T> parts;
  random_array<float> lse;
  random_array<T> o;
};

template <class T>
void call(const row& r, const tensors<T>& t, const seqmix::context& ctx) {
  const auto o = seqmix::view(t.o.data(), 1, r.T, r.H, r.V);
  if (r.P == 2) {
    seqmix::merge_attention(seqmix::view(t.parts.data(), 1, r.T, r.H, r.V),
                            seqmix::view(t.lse.data(), 1, r.H, r.T),
                            seqmix::view(t.parts.data() + r.T * r.H * r.V, 1, r.T, r.H, r.V),
                            seqmix::view(t.lse.data() + r.H * r.T, 1, r.H, r.T), o, {}, ctx);
  } else {
    seqmix::merge_attention(seqmix::view(t.parts.data(), r.P, 1, r.T, r.H, r.V),
                            seqmix::view(t.lse.data(), r.P, 1, r.H, r.T), o, {}, ctx);
  }
}

template <class T>
std::string check(const row& r, const tensors<T>& t) {
  const random_array<T> expected(t.o.size(), 4);
  const auto reference = seqmix::view(expected.data(), 1, r.T, r.H, r.V);
  seqmix::naive_merge_attention(seqmix::view(t.parts.data(), r.P, 1, r.T, r.H, r.V),
                                seqmix::view(t.lse.data(), r.P, 1, r.H, r.T), reference);
  return compare(seqmix::view(t.o.data(), 1, r.T, r.H, r.V), reference);
}

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = "merge_attention/" + std::string(r.P == 2 ? "two" : "many") +
                            "/auto/P:" + std::to_string(r.P) + "/T:" + std::to_string(r.T) +
                            "/H:" + std::to_string(r.H) + "/V:" + std::to_string(r.V) + "/" +
                            type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const bool right = passes_gate(state, name, [&] {
      t.o.poison();
      call(r, t, ctx);
      return check(r, t);
    });
    const double values = static_cast<double>(t.parts.size() + t.o.size()) * sizeof(T);
    const work w{.bytes = values + static_cast<double>(t.lse.size()) * sizeof(float),
                 .writes_much = true};
    if (right) {
      measure(state, w, ctx.executor, [&](std::int64_t) { call(r, t, ctx); });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  for (const std::int64_t parts : {2, 8}) {
    const row r{.P = parts, .T = s.smoke ? 50 : 16384, .H = 8, .V = 128};
    add<float>(s, r);
    add<seqmix::bf16>(s, r);
  }
}

}  // namespace seqmix_bench
