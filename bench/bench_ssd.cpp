// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/ssd/ssd.hpp>
#include <string>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

/// One sequence [B = 1, T, H, P] with one group of B and C, from an initial to a final state.
struct row {
  std::int64_t T, H, N, P;
};

/// Steps, rates and states are float; B and C small, so that states stay bounded.
template <class T>
struct tensors {
  explicit tensors(const row& r)
      : shape(r),
        x(r.T * r.H * r.P, 1),
        b(r.T * r.N, 2),
        c(r.T * r.N, 3),
        o(r.T * r.H * r.P, 4),
        dt(r.T * r.H, 5),
        rate(r.H, 6),
        before(r.H * r.N * r.P, 7),
        after(r.H * r.N * r.P, 8) {
    for (random_array<T>* m : {&b, &c}) {
      for (std::int64_t i = 0; i < m->size(); ++i) {
        const float small = 0.1f * seqmix::detail::widen<float>(m->data()[i]);
        m->data()[i] = seqmix::detail::narrow<T>(small);
      }
    }
    for (std::int64_t i = 0; i < rate.size(); ++i) {
      rate.data()[i] = -0.01f * static_cast<float>(i + 1);
    }
  }

  template <class E>
  auto heads(const random_array<E>& m) const {
    return seqmix::view(m.data(), 1, shape.T, shape.H, shape.P);
  }
  auto group(const random_array<T>& m) const {
    return seqmix::view(m.data(), 1, shape.T, 1, shape.N);
  }
  auto states(const random_array<float>& m) const {
    return seqmix::view(m.data(), 1, shape.H, shape.N, shape.P);
  }

  row shape;
  random_array<T> x, b, c, o;
  random_array<float> dt, rate, before, after;
};

template <class T>
void run(benchmark::State& state, const row& r, const std::string& shape, const std::string& name,
         int threads) {
  const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
  const auto with_arguments = [&](const auto& f, const auto& o, const auto& from, const auto& to,
                                  const auto&... ctx) {
    return f(t.heads(t.x), seqmix::view(t.dt.data(), 1, r.T, r.H), seqmix::view(t.rate.data(), r.H),
             t.group(t.b), t.group(t.c), o,
             seqmix::ssd_options{.dt_softplus = true, .initial_state = from, .final_state = to},
             ctx...);
  };
  team workers(threads);
  seqmix::context ctx;
  if (threads > 1) {
    ctx.executor = workers;
  }
  // A single token updates a state where it lies.
  const bool in_place = r.T == 1;
  const auto from = t.states(in_place ? t.after : t.before);
  const auto call = [&](std::int64_t) {
    with_arguments(seqmix::ssd, t.heads(t.o), from, t.states(t.after), ctx);
  };
  const bool right = passes_gate(state, name, [&] {
    t.o.poison();
    t.after.poison();
    if (in_place) {
      std::copy_n(t.before.data(), t.before.size(), t.after.data());
    }
    call(0);
    const random_array<T> o(t.o.size(), 10);
    const random_array<float> after(t.after.size(), 11);
    with_arguments(seqmix::naive_ssd, t.heads(o), t.states(t.before), t.states(after));
    const std::string fault = compare(t.heads(t.o), t.heads(o));
    return fault.empty() ? compare(t.states(t.after), t.states(after)) : fault;
  });
  if (!right) {
    return;
  }
  const auto report =
      with_arguments(seqmix::ssd.explain, t.heads(t.o), from, t.states(t.after), ctx);
  state.SetLabel(report.implementation + " " + report.algorithm);
  const work w{.flops = 5.0 * static_cast<double>(r.T * r.H * r.N * r.P),
               .bytes = static_cast<double>(2 * t.x.size() + 2 * t.b.size()) * sizeof(T) +
                        static_cast<double>(t.dt.size() + 2 * t.before.size()) * sizeof(float),
               .writes_much = in_place};
  measure(state, w, ctx.executor, call);
}

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = "ssd/auto/T:" + std::to_string(r.T) + "/H:" + std::to_string(r.H) +
                            "/N:" + std::to_string(r.N) + "/P:" + std::to_string(r.P) + "/" +
                            type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    run<T>(state, r, shape, name, threads);
  });
}

}  // namespace

void register_rows(const settings& s) {
  if (s.smoke) {
    add<float>(s, {.T = 40, .H = 2, .N = 20, .P = 36});
    add<seqmix::bf16>(s, {.T = 40, .H = 2, .N = 20, .P = 36});
    return;
  }
  // Mamba-2's heads, and a width that fills no whole tile.
  add<float>(s, {.T = 256, .H = 48, .N = 128, .P = 64});
  add<seqmix::bf16>(s, {.T = 256, .H = 48, .N = 128, .P = 64});
  add<float>(s, {.T = 256, .H = 48, .N = 64, .P = 64});
  add<float>(s, {.T = 256, .H = 48, .N = 128, .P = 80});
  // States far beyond the second-level cache, in place as a cache of them would be.
  add<float>(s, {.T = 1, .H = 2048, .N = 128, .P = 64});
}

}  // namespace seqmix_bench
