// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <string>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

/// x, o and perhaps a gate of one sequence [B = 1, T, H, D].
struct row {
  seqmix::output_norm_kind kind;
  bool gated;
  std::int64_t T, H, D;
};

const char* name_of(seqmix::output_norm_kind kind) {
  return kind == seqmix::output_norm_kind::rms          ? "rms"
         : kind == seqmix::output_norm_kind::layer_norm ? "layer_norm"
         : kind == seqmix::output_norm_kind::l2         ? "l2"
                                                        : "srms";
}

template <class T>
struct tensors {
  explicit tensors(const row& r)
      : x(r.T * r.H * r.D, 1),
        o(r.T * r.H * r.D, 2),
        weight(r.D, 3),
        gate(r.gated ? r.T * r.H * r.D : 0, 4) {}
  random_array<T> x, o, weight, gate;
};

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = std::string("output_norm/") + name_of(r.kind) +
                            (r.gated ? "_silu" : "") + "/auto/T:" + std::to_string(r.T) +
                            "/H:" + std::to_string(r.H) + "/D:" + std::to_string(r.D) + "/" +
                            type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
    const auto x = seqmix::view(t.x.data(), 1, r.T, r.H, r.D);
    const auto o = seqmix::view(t.o.data(), 1, r.T, r.H, r.D);
    seqmix::output_norm_options options{.kind = r.kind,
                                        .weight = seqmix::view(t.weight.data(), 1, r.D)};
    if (r.gated) {
      options.gate = seqmix::view(t.gate.data(), 1, r.T, r.H, r.D);
      options.gate_by = seqmix::output_gate::silu;
    }
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const bool right = passes_gate(state, name, [&] {
      t.o.poison();
      seqmix::output_norm(x, o, options, ctx);
      const random_array<T> expected(t.o.size(), 5);
      const auto reference = seqmix::view(expected.data(), 1, r.T, r.H, r.D);
      seqmix::naive_output_norm(x, reference, options);
      return compare(o, reference);
    });
    const work w{.bytes = static_cast<double>(t.x.size() + t.o.size() + t.gate.size()) * sizeof(T),
                 .writes_much = true};
    if (right) {
      measure(state, w, ctx.executor,
              [&](std::int64_t) { seqmix::output_norm(x, o, options, ctx); });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  using kind = seqmix::output_norm_kind;
  for (const kind which : {kind::rms, kind::layer_norm, kind::srms, kind::l2}) {
    const row prompt{.kind = which, .gated = false, .T = s.smoke ? 50 : 16384, .H = 8, .D = 128};
    add<float>(s, prompt);
    add<seqmix::bf16>(s, prompt);
  }
  row gated{.kind = kind::rms, .gated = true, .T = s.smoke ? 50 : 16384, .H = 8, .D = 128};
  add<float>(s, gated);
  add<seqmix::bf16>(s, gated);
  if (!s.smoke) {
    gated.T = 1;
    gated.H = 32;
    add<float>(s, gated);
  }
}

}  // namespace seqmix_bench
