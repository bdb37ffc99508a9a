// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/rope/rope.hpp>
#include <string>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

/// x and o of one sequence [B = 1, T, H, D].
struct row {
  seqmix::rope_layout layout;
  std::int64_t T, H, D;
};

template <class T>
struct tensors {
  explicit tensors(const row& r) : x(r.T * r.H * r.D, 1), o(r.T * r.H * r.D, 2) {}
  random_array<T> x, o;
};

template <class T>
void add(const settings& s, const row& r) {
  const bool halves = r.layout == seqmix::rope_layout::half_split;
  const std::string shape = "rope/" + std::string(halves ? "half_split" : "interleaved") +
                            "/auto/T:" + std::to_string(r.T) + "/H:" + std::to_string(r.H) +
                            "/D:" + std::to_string(r.D) + "/" + type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
    const auto x = seqmix::view(t.x.data(), 1, r.T, r.H, r.D);
    const auto o = seqmix::view(t.o.data(), 1, r.T, r.H, r.D);
    const seqmix::rope_options options{.layout = r.layout};
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const bool right = passes_gate(state, name, [&] {
      t.o.poison();
      seqmix::rope(x, o, options, ctx);
      const random_array<T> expected(t.o.size(), 3);
      const auto reference = seqmix::view(expected.data(), 1, r.T, r.H, r.D);
      seqmix::naive_rope(x, reference, options);
      return compare(o, reference);
    });
    const work w{.bytes = static_cast<double>(t.x.size() + t.o.size()) * sizeof(T),
                 .writes_much = true};
    if (right) {
      measure(state, w, ctx.executor, [&](std::int64_t) { seqmix::rope(x, o, options, ctx); });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  for (const auto layout : {seqmix::rope_layout::half_split, seqmix::rope_layout::interleaved}) {
    const row prompt{.layout = layout, .T = s.smoke ? 50 : 16384, .H = 8, .D = 128};
    add<float>(s, prompt);
    add<seqmix::bf16>(s, prompt);
    if (!s.smoke) {
      add<float>(s, {.layout = layout, .T = 1, .H = 32, .D = 128});
    }
  }
}

}  // namespace seqmix_bench
