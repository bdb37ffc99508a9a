// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <seqmix/ops/selective_state_update/selective_state_update.hpp>
#include <string>
#include <vector>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

/// The oracle's share of a row: so many channels, or sequences of which each has a state.
constexpr std::int64_t checked_channels = 64;
constexpr std::int64_t checked_sequences = 16;

/// One sequence [B = 1, T, D] from zeros, with gate, skip and softplus.
struct row {
  std::int64_t T, D, N;
  bool behind = false;  ///< [B, D, T] in memory
  double step = -4;     ///< about what delta is before the softplus
};

/// A is -1 ... -N in every channel, as models start from.
template <class T>
struct tensors {
  explicit tensors(const row& r)
      : shape(r),
        u(r.T * r.D, 1),
        delta(r.T * r.D, 2),
        z(r.T * r.D, 3),
        y(r.T * r.D, 4),
        b(r.T * r.N, 5),
        c(r.T * r.N, 6),
        a(r.D * r.N, 7),
        skip(r.D, 8),
        bias(r.D, 9) {
    for (std::int64_t i = 0; i < a.size(); ++i) {
      a.data()[i] = -static_cast<float>(i % r.N + 1);
    }
    for (std::int64_t i = 0; i < bias.size(); ++i) {
      bias.data()[i] = static_cast<float>(r.step);
    }
  }

  /// The first D channels.
  seqmix::tensor_view<T, 3> rows(const random_array<T>& x, std::int64_t D) const {
    return {x.data(),
            {std::int64_t{1}, shape.T, D},
            {x.size(), shape.behind ? std::int64_t{1} : shape.D,
             shape.behind ? shape.T : std::int64_t{1}}};
  }
  auto group(const random_array<T>& x) const {
    return seqmix::view(x.data(), 1, shape.T, 1, shape.N);
  }

  row shape;
  random_array<T> u, delta, z, y, b, c;
  random_array<float> a, skip, bias;
};

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = std::string("selective_scan/auto/T:") + std::to_string(r.T) +
                            "/D:" + std::to_string(r.D) + "/N:" + std::to_string(r.N) +
                            (r.behind ? "/channels_first" : "") +
                            (r.step > -4 ? "/long_steps" : "") + "/" + type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const auto with = [&](const auto& f, std::int64_t D, const random_array<T>& y,
                          const auto&... rest) {
      const seqmix::selective_scan_options options{.D = seqmix::view(t.skip.data(), D),
                                                   .z = t.rows(t.z, D),
                                                   .delta_bias = seqmix::view(t.bias.data(), D),
                                                   .delta_softplus = true};
      f(t.rows(t.u, D), t.rows(t.delta, D), seqmix::view(t.a.data(), D, r.N), t.group(t.b),
        t.group(t.c), t.rows(y, D), options, rest...);
    };
    const bool right = passes_gate(state, name, [&] {
      t.y.poison();
      with(seqmix::selective_scan, r.D, t.y, ctx);
      const std::int64_t D = std::min(r.D, checked_channels);
      const random_array<T> expected(t.y.size(), 10);
      with(seqmix::naive_selective_scan, D, expected);
      const auto checked = [&](const random_array<T>& x) {
        const auto rows = t.rows(x, D);
        return seqmix::tensor_view<T, 4>{x.data(),
                                         {std::int64_t{1}, std::int64_t{1}, r.T, D},
                                         {x.size(), x.size(), rows.stride(1), rows.stride(2)}};
      };
      return compare(checked(t.y), checked(expected));
    });
    // Multiplications and multiply-adds of a state and token, 2 each: three for the reduction and
    // scale of the exponential, five for its polynomial, three for the state and the output.
    const work w{.flops = 22.0 * static_cast<double>(r.T * r.D * r.N),
                 .bytes = static_cast<double>(4 * t.u.size() + 2 * t.b.size()) * sizeof(T) +
                          static_cast<double>(t.a.size()) * sizeof(float)};
    if (right) {
      measure(state, w, ctx.executor,
              [&](std::int64_t) { with(seqmix::selective_scan, r.D, t.y, ctx); });
      state.counters["ns_per_state"] = benchmark::Counter(
          static_cast<double>(r.T * r.D * r.N) * 1e-9,
          benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    }
  });
}

/// One token of B sequences, from states [B, D, N] to the same memory.
struct update_row {
  std::int64_t B, D, N;
};

template <class S>
struct update_tensors {
  explicit update_tensors(const update_row& r)
      : u(r.B * r.D, 1),
        delta(r.B * r.D, 2),
        y(r.B * r.D, 3),
        expected(r.B * r.D, 4),
        b(r.B * r.N, 5),
        c(r.B * r.N, 6),
        a(r.D * r.N, 7),
        scale(r.B * r.D, 8),
        state(static_cast<std::size_t>(r.B * r.D * r.N)) {
    for (std::int64_t i = 0; i < a.size(); ++i) {
      a.data()[i] = -static_cast<float>(i % r.N + 1);
    }
    for (std::int64_t i = 0; i < delta.size(); ++i) {
      delta.data()[i] -= 4;
    }
    random_source source(9);
    for (std::int64_t i = 0; i < scale.size(); ++i) {
      scale.data()[i] = 1.0f / 64;
    }
    for (S& x : state) {
      if constexpr (std::is_same_v<S, std::int8_t>) {
        x = static_cast<S>(source.below(255) - 127);
      } else {
        x = seqmix::detail::narrow<S>(source.value());
      }
    }
  }
  random_array<float> u, delta, y, expected, b, c, a, scale;
  std::vector<S> state;
};

template <class S>
void add(const settings& s, const update_row& r) {
  const std::string shape = "selective_state_update/auto/B:" + std::to_string(r.B) +
                            "/D:" + std::to_string(r.D) + "/N:" + std::to_string(r.N) + "/" +
                            type_name<S>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    auto& t =
        hold<update_tensors<S>>(shape, [&] { return std::make_shared<update_tensors<S>>(r); });
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const auto with = [&](const auto& f, std::int64_t B, const random_array<float>& y,
                          const auto&... rest) {
      seqmix::selective_state_update_options options{.delta_softplus = true};
      if constexpr (std::is_same_v<S, std::int8_t>) {
        options.state_scale = seqmix::view(t.scale.data(), B, r.D, 1);
      }
      f(seqmix::view(t.state.data(), B, r.D, r.N), seqmix::view(t.u.data(), B, r.D),
        seqmix::view(t.delta.data(), B, r.D), seqmix::view(t.a.data(), r.D, r.N),
        seqmix::view(t.b.data(), B, 1, r.N), seqmix::view(t.c.data(), B, 1, r.N),
        seqmix::view(y.data(), B, r.D), options, rest...);
    };
    const bool right = passes_gate(state, name, [&] {
      // The rows of all threads share their tensors, and each call moves the states on.
      const std::int64_t B = std::min(r.B, checked_sequences);
      const update_tensors<S> fresh({.B = B, .D = r.D, .N = r.N});
      const auto begin_anew = [&] {
        std::copy(fresh.state.begin(), fresh.state.end(), t.state.begin());
        std::copy_n(fresh.scale.data(), fresh.scale.size(), t.scale.data());
      };
      begin_anew();
      with(seqmix::naive_selective_state_update, B, t.expected);
      begin_anew();
      with(seqmix::selective_state_update, r.B, t.y, ctx);
      return compare(seqmix::view(t.y.data(), 1, 1, 1, B * r.D),
                     seqmix::view(t.expected.data(), 1, 1, 1, B * r.D));
    });
    const auto states = static_cast<double>(r.B * r.D * r.N);
    const double scales =
        std::is_same_v<S, std::int8_t> ? sizeof(float) / static_cast<double>(r.N) : 0;
    const work w{
        .flops = 22.0 * states, .bytes = 2 * states * (sizeof(S) + scales), .writes_much = true};
    if (right) {
      measure(state, w, ctx.executor,
              [&](std::int64_t) { with(seqmix::selective_state_update, r.B, t.y, ctx); });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  if (s.smoke) {
    add<float>(s, row{.T = 50, .D = 70, .N = 16});
    add<seqmix::bf16>(s, row{.T = 50, .D = 70, .N = 16});
    add<float>(s, row{.T = 50, .D = 70, .N = 7, .behind = true});
    add<float>(s, update_row{.B = 3, .D = 70, .N = 16});
    add<seqmix::bf16>(s, update_row{.B = 3, .D = 70, .N = 16});
    add<std::int8_t>(s, update_row{.B = 3, .D = 70, .N = 16});
    return;
  }
  const row mamba{.T = 256, .D = 1024, .N = 16};
  add<float>(s, mamba);
  add<seqmix::bf16>(s, mamba);
  add<float>(s, row{.T = 256, .D = 1024, .N = 16, .behind = true});
  add<float>(s, row{.T = 256, .D = 1024, .N = 16, .step = 0});
  add<float>(s, row{.T = 256, .D = 1024, .N = 64});
  add<float>(s, row{.T = 256, .D = 256, .N = 256});
  add<float>(s, row{.T = 4096, .D = 1024, .N = 16});
  // States beyond the caches, as decoding many sequences has them.
  for (const std::int64_t N : {16, 128}) {
    const update_row many{.B = 64 * 16 / N * 16, .D = 1024, .N = N};
    add<float>(s, many);
    add<seqmix::bf16>(s, many);
    add<std::int8_t>(s, many);
  }
}

}  // namespace seqmix_bench
