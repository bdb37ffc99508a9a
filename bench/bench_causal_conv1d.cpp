// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/depthwise_conv1d/depthwise_conv1d.hpp>
#include <string>
#include <vector>

#include "support/bench.hpp"
#include "support/data.hpp"
#include "support/probes.hpp"

namespace seqmix_bench {

namespace {

/// Which call a row makes.
enum class form {
  prefill,    ///< causal_conv1d, no states
  time,       ///< the same with x and y [B, D, T]
  update,     ///< causal_conv1d_update
  circular,   ///< the same with circular states
  depthwise,  ///< depthwise_conv1d
};

struct row {
  form which;
  std::int64_t B, T, D, W;
  seqmix::conv_activation activation = seqmix::conv_activation::silu;
  bool cold = false;  ///< calls rotate over memory that no cache holds
};

const char* name_of(form f) {
  return f == form::update      ? "update"
         : f == form::circular  ? "update_circular"
         : f == form::depthwise ? "depthwise"
         : f == form::time      ? "prefill_time"
                                : "prefill";
}

template <class T>
struct tensors {
  explicit tensors(const row& r, std::int64_t sets)
      : weight(r.D * r.W, 3), bias(r.D, 4), position(static_cast<std::size_t>(r.B), 5) {
    for (std::int64_t i = 0; i < sets; ++i) {
      x.emplace_back(r.B * r.T * r.D, 1);
      y.emplace_back(r.B * r.T * r.D, 2);
      state.emplace_back(r.B * r.D * (r.W - 1), 5);
    }
  }
  std::vector<random_array<T>> x, y, state;
  random_array<T> weight, bias;
  std::vector<std::int64_t> position;
};

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = std::string("causal_conv1d/") + name_of(r.which) +
                            (r.activation == seqmix::conv_activation::silu ? "_silu" : "") +
                            (r.cold ? "_cold" : "") + "/auto/B:" + std::to_string(r.B) +
                            "/T:" + std::to_string(r.T) + "/D:" + std::to_string(r.D) +
                            "/W:" + std::to_string(r.W) + "/" + type_name<T>;
  const bool states = r.which == form::update || r.which == form::circular;
  const std::int64_t bytes =
      (2 * r.B * r.T * r.D + (r.W + 1) * r.D + (states ? 2 * r.B * r.D * (r.W - 1) : 0)) *
      static_cast<std::int64_t>(sizeof(T));
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const std::int64_t sets = r.cold && !s.smoke ? 4 * last_level_cache_bytes() / bytes + 2 : 1;
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r, sets); });
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const auto rows = [&](T* p) {
      const auto v = seqmix::view(p, r.B, r.T, r.D);
      return r.which == form::time ? seqmix::view(p, r.B, r.D, r.T).template permuted<0, 2, 1>()
                                   : v;
    };
    const auto weight = seqmix::view(t.weight.data(), r.D, r.W);
    const auto bias = seqmix::view(t.bias.data(), r.D);
    const auto call = [&](const T* in, T* out, T* kept, const seqmix::context& how) {
      const auto x = rows(const_cast<T*>(in));
      const auto y = rows(out);
      if (r.which == form::depthwise) {
        seqmix::depthwise_conv1d(x, weight, y, {.bias = bias, .activation = r.activation}, how);
      } else if (states) {
        seqmix::causal_conv1d_options options{.bias = bias, .activation = r.activation};
        if (r.which == form::circular) {
          options.state_positions = seqmix::view(t.position.data(), r.B);
        }
        seqmix::causal_conv1d_update(x, weight, y, seqmix::view(kept, r.B, r.D, r.W - 1), options,
                                     how);
      } else {
        seqmix::causal_conv1d(x, weight, y, {.bias = bias, .activation = r.activation}, how);
      }
    };
    const bool right = passes_gate(state, name, [&] {
      t.y[0].poison();
      const random_array<T> kept(t.state[0].size(), 5), same(t.state[0].size(), 5);
      const random_array<T> expected(t.y[0].size(), 6);
      call(t.x[0].data(), t.y[0].data(), kept.data(), ctx);
      call(t.x[0].data(), expected.data(), same.data(), {.pin = {.implementation = "naive"}});
      const auto flat = [](const random_array<T>& a) {
        return seqmix::view(a.data(), 1, 1, 1, a.size());
      };
      std::string fault = compare(flat(t.y[0]), flat(expected));
      return fault.empty() && states ? compare(flat(kept), flat(same)) : fault;
    });
    if (right) {
      measure(state, {.bytes = static_cast<double>(bytes), .writes_much = true}, ctx.executor,
              [&](std::int64_t i) {
                const auto n = static_cast<std::size_t>(i % sets);
                call(t.x[n].data(), t.y[n].data(), t.state[n].data(), ctx);
              });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  using seqmix::conv_activation;
  const std::int64_t T = s.smoke ? 70 : 512;
  const std::int64_t D = s.smoke ? 100 : 3328;
  for (const bool cold : {false, true}) {
    for (const conv_activation activation : {conv_activation::none, conv_activation::silu}) {
      const row prompt{form::prefill, 1, T, D, 4, activation, cold};
      add<float>(s, prompt);
      add<seqmix::bf16>(s, prompt);
      row time = prompt;
      time.which = form::time;
      add<float>(s, time);
      add<seqmix::bf16>(s, time);
    }
    add<float>(s, {form::depthwise, 1, T, D, 7, conv_activation::silu, cold});
    const std::int64_t B = s.smoke ? 3 : 64;
    for (const form which : {form::update, form::circular}) {
      add<float>(s, {which, B, 1, D, 4, conv_activation::silu, cold});
    }
    add<seqmix::bf16>(s, {form::update, B, 1, D, 4, conv_activation::silu, cold});
    add<float>(s, {form::update, 1, 1, D, 4, conv_activation::silu, cold});
    add<float>(s, {form::update, B, 4, D, 4, conv_activation::silu, cold});
  }
  for (const std::int64_t W : {2, 3, 16, 64}) {
    add<float>(s, {form::prefill, 1, T, D, W, conv_activation::none, false});
  }
}

}  // namespace seqmix_bench
