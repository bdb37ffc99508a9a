// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>
#include <seqmix/ops/delta_rule/delta_rule.hpp>
#include <seqmix/ops/dplr_delta_rule/dplr_delta_rule.hpp>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/gated_linear_attention/gated_linear_attention.hpp>
#include <seqmix/ops/kda/kda.hpp>
#include <seqmix/ops/lightning_attention/lightning_attention.hpp>
#include <seqmix/ops/linear_attention/linear_attention.hpp>
#include <seqmix/ops/retention/retention.hpp>
#include <seqmix/ops/rwkv7/rwkv7.hpp>
#include <string>
#include <tuple>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

using seqmix::state_decay;
using seqmix::state_update;

/// One sequence [B = 1, T, H, D], with K = V = D, from an initial to a final state.
struct row {
  std::int64_t T, H, D;
};

/// Numbers of the given mean and standard deviation.
template <class T>
random_array<T> spread(std::int64_t count, std::uint64_t seed, double mean, double deviation) {
  random_array<T> x(count, seed);
  random_source source(seed);
  for (std::int64_t i = 0; i < count; ++i) {
    x.data()[i] = seqmix::detail::narrow<T>(static_cast<float>(mean + deviation * source.value()));
  }
  return x;
}

/// Keys have a norm of about 1, so that states stay bounded; gates and states are float.
template <class T>
struct tensors {
  explicit tensors(const row& r)
      : shape(r),
        q(r.T * r.H * r.D, 1),
        k(spread<T>(r.T * r.H * r.D, 2, 0, unit(r))),
        v(r.T * r.H * r.D, 3),
        o(r.T * r.H * r.D, 4),
        decay(spread<float>(r.T * r.H * r.D, 5, -0.05, 0.02)),
        removal(spread<float>(r.T * r.H * r.D, 6, 0, unit(r))),
        rates(spread<float>(r.T * r.H * r.D, 7, 0.5, 0.25)),
        before(r.H * r.D * r.D, 8),
        after(r.H * r.D * r.D, 9) {}

  static double unit(const row& r) { return 1 / std::sqrt(static_cast<double>(r.D)); }
  template <class E>
  auto rows(const random_array<E>& x) const {
    return seqmix::view(x.data(), 1, shape.T, shape.H, shape.D);
  }
  auto numbers(const random_array<float>& x) const {
    return seqmix::view(x.data(), 1, shape.T, shape.H);
  }
  auto states(const random_array<float>& x) const {
    return seqmix::view(x.data(), 1, shape.H, shape.D, shape.D);
  }

  row shape;
  random_array<T> q, k, v, o;
  random_array<float> decay, removal, rates, before, after;
};

/// The operators, with what stands between v and o in their calls.
struct linear_attention {
  static constexpr auto& call = seqmix::linear_attention;
  static constexpr auto& oracle = seqmix::naive_linear_attention;
  static constexpr const char* name = "linear_attention";
  static constexpr auto decay = state_decay::none;
  static constexpr auto update = state_update::none;
  static auto gates(const auto& /*t*/) { return std::tuple{}; }
};

struct retention {
  static constexpr auto& call = seqmix::retention;
  static constexpr auto& oracle = seqmix::naive_retention;
  static constexpr const char* name = "retention";
  static constexpr auto decay = state_decay::scalar;
  static constexpr auto update = state_update::none;
  static auto gates(const auto& /*t*/) { return std::tuple{}; }
};

struct lightning_attention {
  static constexpr auto& call = seqmix::lightning_attention;
  static constexpr auto& oracle = seqmix::naive_lightning_attention;
  static constexpr const char* name = "lightning_attention";
  static constexpr auto decay = state_decay::scalar;
  static constexpr auto update = state_update::none;
  static auto gates(const auto& t) { return std::tuple{seqmix::view(t.rates.data(), t.shape.H)}; }
};

struct gated_linear_attention {
  static constexpr auto& call = seqmix::gated_linear_attention;
  static constexpr auto& oracle = seqmix::naive_gated_linear_attention;
  static constexpr const char* name = "gated_linear_attention";
  static constexpr auto decay = state_decay::per_key;
  static constexpr auto update = state_update::none;
  static auto gates(const auto& t) { return std::tuple{t.rows(t.decay)}; }
};

struct delta_rule {
  static constexpr auto& call = seqmix::delta_rule;
  static constexpr auto& oracle = seqmix::naive_delta_rule;
  static constexpr const char* name = "delta_rule";
  static constexpr auto decay = state_decay::none;
  static constexpr auto update = state_update::delta;
  static auto gates(const auto& t) { return std::tuple{t.numbers(t.rates)}; }
};

struct gated_delta_rule {
  static constexpr auto& call = seqmix::gated_delta_rule;
  static constexpr auto& oracle = seqmix::naive_gated_delta_rule;
  static constexpr const char* name = "gated_delta_rule";
  static constexpr auto decay = state_decay::scalar;
  static constexpr auto update = state_update::delta;
  static auto gates(const auto& t) { return std::tuple{t.numbers(t.decay), t.numbers(t.rates)}; }
};

struct kda {
  static constexpr auto& call = seqmix::kda;
  static constexpr auto& oracle = seqmix::naive_kda;
  static constexpr const char* name = "kda";
  static constexpr auto decay = state_decay::per_key;
  static constexpr auto update = state_update::delta;
  static auto gates(const auto& t) { return std::tuple{t.rows(t.decay), t.numbers(t.rates)}; }
};

struct dplr_delta_rule {
  static constexpr auto& call = seqmix::dplr_delta_rule;
  static constexpr auto& oracle = seqmix::naive_dplr_delta_rule;
  static constexpr const char* name = "dplr_delta_rule";
  static constexpr auto decay = state_decay::per_key;
  static constexpr auto update = state_update::general;
  // Factors that know nothing of each other add less than what decays.
  static auto gates(const auto& t) {
    return std::tuple{t.rows(t.decay), t.rows(t.removal), t.rows(t.decay)};
  }
};

struct rwkv7 {
  static constexpr auto& call = seqmix::rwkv7;
  static constexpr auto& oracle = seqmix::naive_rwkv7;
  static constexpr const char* name = "rwkv7";
  static constexpr auto decay = state_decay::per_key;
  static constexpr auto update = state_update::general;
  static auto gates(const auto& t) {
    return std::tuple{t.rows(t.decay), t.rows(t.removal), t.rows(t.rates)};
  }
};

/// Operations of the recurrent form for each element of the state and token, whatever algorithm
/// runs: a multiply-add is 2. The write k v^T and the read S^T q take one each, a decay is one
/// multiplication, delta reads S^T k beside them, general reads S^T a and adds b (S^T a)^T.
template <class Op>
constexpr double operations() {
  return 4 + (Op::decay == state_decay::none ? 0 : 1) +
         (Op::update == state_update::none    ? 0
          : Op::update == state_update::delta ? 2
                                              : 4);
}

template <class T, class Op>
void run(benchmark::State& state, const row& r, const char* algorithm, const std::string& shape,
         const std::string& name, int threads) {
  const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
  const auto gates = Op::gates(t);
  const auto with_arguments = [&](const auto& f, const auto& o, const auto& initial_state,
                                  const auto& final_state, const auto&... ctx) {
    const seqmix::recurrence_options options{.initial_state = initial_state,
                                             .final_state = final_state};
    return std::apply(
        [&](const auto&... gate) {
          return f(t.rows(t.q), t.rows(t.k), t.rows(t.v), gate..., o, options, ctx...);
        },
        gates);
  };
  team workers(threads);
  seqmix::context ctx{.pin = {.algorithm = algorithm}};
  if (threads > 1) {
    ctx.executor = workers;
  }
  // A single token updates a state where it lies.
  const bool in_place = r.T == 1;
  const auto from = t.states(in_place ? t.after : t.before);
  const auto call = [&](std::int64_t) {
    with_arguments(Op::call, t.rows(t.o), from, t.states(t.after), ctx);
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
    with_arguments(Op::oracle, t.rows(o), t.states(t.before), t.states(after));
    const std::string fault = compare(t.rows(t.o), t.rows(o));
    return fault.empty() ? compare(t.states(t.after), t.states(after)) : fault;
  });
  if (!right) {
    return;
  }
  const auto report = with_arguments(Op::call.explain, t.rows(t.o), from, t.states(t.after), ctx);
  state.SetLabel(report.implementation + " " + report.algorithm);
  const std::int64_t gate_elements =
      std::apply([](const auto&... gate) { return (std::int64_t{0} + ... + gate.size()); }, gates);
  const work w{.flops = operations<Op>() * static_cast<double>(r.T * r.H * r.D * r.D),
               .bytes = static_cast<double>(4 * t.q.size()) * sizeof(T) +
                        static_cast<double>(gate_elements + 2 * t.before.size()) * sizeof(float),
               .writes_much = in_place};
  measure(state, w, ctx.executor, call);
}

/// Without a pinned algorithm what dispatch chooses.
template <class T, class Op>
void add(const settings& s, const row& r, const char* algorithm = "") {
  const std::string shape = std::string(Op::name) + "/" + (*algorithm == 0 ? "auto" : algorithm) +
                            "/T:" + std::to_string(r.T) + "/H:" + std::to_string(r.H) +
                            "/D:" + std::to_string(r.D) + "/" + type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    run<T, Op>(state, r, algorithm, shape, name, threads);
  });
}

void register_smoke_rows(const settings& s) {
  const row small{.T = 40, .H = 2, .D = 36};
  add<float, linear_attention>(s, small);
  add<float, retention>(s, small);
  add<float, lightning_attention>(s, small);
  add<float, gated_linear_attention>(s, small);
  add<float, delta_rule>(s, small);
  add<float, gated_delta_rule>(s, small);
  add<seqmix::bf16, gated_delta_rule>(s, small);
  add<float, kda>(s, small);
  add<float, dplr_delta_rule>(s, small);
  add<float, rwkv7>(s, small);
  add<float, kda>(s, small, "chunk<16>");
  add<float, kda>(s, small, "segmented<16>");
}

}  // namespace

void register_rows(const settings& s) {
  if (s.smoke) {
    return register_smoke_rows(s);
  }
  for (const std::int64_t tokens : {1, 64, 256}) {
    add<float, gated_delta_rule>(s, {.T = tokens, .H = 8, .D = 128});
    add<float, kda>(s, {.T = tokens, .H = 8, .D = 128});
  }
  const row heads_of_64{.T = 256, .H = 8, .D = 64};
  add<float, gated_delta_rule>(s, heads_of_64);
  add<float, kda>(s, heads_of_64);
  add<float, gated_linear_attention>(s, heads_of_64);
  add<float, rwkv7>(s, heads_of_64);
  // With many heads the tokens of one head lie far apart.
  const row many_heads{.T = 256, .H = 32, .D = 64};
  add<float, gated_linear_attention>(s, many_heads);
  add<float, dplr_delta_rule>(s, many_heads);
  add<float, rwkv7>(s, many_heads);
  add<float, gated_delta_rule>(s, many_heads);
  const row heads_of_128{.T = 256, .H = 8, .D = 128};
  add<float, linear_attention>(s, heads_of_128);
  add<float, retention>(s, heads_of_128);
  add<float, lightning_attention>(s, heads_of_128);
  add<float, delta_rule>(s, heads_of_128);
  add<seqmix::bf16, gated_delta_rule>(s, heads_of_128);
  // States far beyond the second-level cache, in place as a cache of them would be.
  add<float, gated_delta_rule>(s, {.T = 1, .H = 1024, .D = 128});
  add<float, kda>(s, {.T = 1, .H = 1024, .D = 128});
  add<float, gated_linear_attention>(s, {.T = 1, .H = 4096, .D = 64});
  add<float, rwkv7>(s, {.T = 1, .H = 4096, .D = 64});
  for (const char* algorithm : {"chunk<16>", "chunk<32>", "chunk<64>"}) {
    for (const row& r : {heads_of_64, heads_of_128}) {
      add<float, gated_delta_rule>(s, r, algorithm);
      add<float, gated_linear_attention>(s, r, algorithm);
    }
  }
  add<float, gated_linear_attention>(s, heads_of_128);
  // As many heads as two threads.
  const row long_text{.T = 2048, .H = 2, .D = 128};
  add<float, gated_delta_rule>(s, long_text);
  add<float, gated_delta_rule>(s, long_text, "segmented");
}

}  // namespace seqmix_bench
