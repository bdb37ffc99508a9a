// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <seqmix/ops/delta_rule/delta_rule.hpp>
#include <seqmix/ops/dplr_delta_rule/dplr_delta_rule.hpp>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/gated_linear_attention/gated_linear_attention.hpp>
#include <seqmix/ops/kda/kda.hpp>
#include <seqmix/ops/lightning_attention/lightning_attention.hpp>
#include <seqmix/ops/linear_attention/linear_attention.hpp>
#include <seqmix/ops/retention/retention.hpp>
#include <seqmix/ops/rwkv7/rwkv7.hpp>
#include <seqmix/ops/ssd/ssd.hpp>
#include <string>
#include <vector>

#include "pool.hpp"
#include "tensor.hpp"
#include "tolerance.hpp"

namespace seqmix_test {

/// The operators with a matrix state.
enum class recurrence { linear, retention, lightning, gla, delta, gdn, kda, dplr, rwkv7, ssd };
inline constexpr recurrence every_recurrence[] = {
    recurrence::linear, recurrence::retention, recurrence::lightning, recurrence::gla,
    recurrence::delta,  recurrence::gdn,       recurrence::kda,       recurrence::dplr,
    recurrence::rwkv7,  recurrence::ssd};

constexpr const char* name(recurrence r) noexcept {
  constexpr const char* names[] = {"linear_attention",
                                   "retention",
                                   "lightning_attention",
                                   "gated_linear_attention",
                                   "delta_rule",
                                   "gated_delta_rule",
                                   "kda",
                                   "dplr_delta_rule",
                                   "rwkv7",
                                   "ssd"};
  return names[static_cast<int>(r)];
}
constexpr bool has_delta(recurrence r) noexcept {
  return r == recurrence::delta || r == recurrence::gdn || r == recurrence::kda;
}
constexpr bool has_gates(recurrence r) noexcept {
  return r >= recurrence::gla && r != recurrence::delta;
}

/// One call: everything that decides its inputs and its result.
struct recurrence_case {
  recurrence op = recurrence::gdn;
  std::int64_t B = 1, T = 1, H = 1, HV = 1, K = 8, V = 8;
  bool packed = false;  ///< B sequences of up to T tokens
  bool initial = false, final = false, pooled = false;
  bool many_betas = false;
  bool l2norm = false;
  seqmix::head_map heads = seqmix::head_map::grouped;
  bool reverse = false;
  double gate = -0.5;  ///< gates are in [gate, 0]
  scalar_type type = scalar_type::f32;
  scalar_type output = scalar_type::f32;
  scalar_type state = scalar_type::f32;
  layout inputs = layout::dense, outputs = layout::dense, states = layout::dense;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const recurrence_case& c) {
    return out << "{" << name(c.op) << ", B " << c.B << ", T " << c.T << ", H " << c.H << ", HV "
               << c.HV << ", K " << c.K << ", V " << c.V << (c.packed ? ", packed" : "")
               << (c.initial ? ", initial" : "") << (c.final ? ", final" : "")
               << (c.pooled ? ", pooled" : "") << (c.many_betas ? ", beta for each value" : "")
               << (c.l2norm ? ", l2norm" : "")
               << (c.heads == seqmix::head_map::tiled ? ", tiled" : "")
               << (c.reverse ? ", reverse" : "") << ", gate " << c.gate << ", types "
               << name(c.type) << " " << name(c.output) << " " << name(c.state) << ", layouts "
               << name(c.inputs) << " " << name(c.outputs) << " " << name(c.states) << ", seed "
               << c.seed << "}";
  }
};

/// The tensors of a case. Gates and strengths keep float's type where the case's is narrower.
class recurrence_problem {
 public:
  explicit recurrence_problem(const recurrence_case& which) : c(which) {
    starts.push_back(0);
    for (std::int64_t n = 0; n < c.B; ++n) {
      const auto r = static_cast<std::int64_t>(mix(c.seed * 1000 + static_cast<std::uint64_t>(n)) %
                                               static_cast<std::uint64_t>(c.T + 1));
      starts.push_back(starts.back() + (n == 0 ? c.T : r));
    }
    const std::int64_t batch = c.packed ? 1 : c.B;
    const std::int64_t rows = c.packed ? starts.back() + 2 : c.T;
    q = tensor<4>(c.type, {batch, rows, c.H, c.K}, c.inputs);
    k = tensor<4>(c.type, {batch, rows, c.H, c.K}, c.inputs);
    v = tensor<4>(c.type, {batch, rows, c.HV, c.V}, c.inputs);
    o = tensor<4>(c.output, {batch, rows, c.HV, c.V}, c.outputs);
    const bool per_key = has_gates(c.op) && c.op != recurrence::gdn && c.op != recurrence::ssd;
    gate = tensor<4>(c.type, {batch, rows, c.HV, per_key ? c.K : 1}, c.inputs);
    beta = tensor<4>(c.type, {batch, rows, c.HV, c.many_betas ? c.V : 1}, c.inputs);
    a = tensor<4>(c.type, {batch, rows, c.HV, c.K}, c.inputs);
    b = tensor<4>(c.type, {batch, rows, c.HV, c.K}, c.inputs);
    slopes =
        tensor<1>(c.type, {c.HV}, c.inputs == layout::strided ? layout::strided : layout::dense);
    offsets = index_tensor(starts, c.seed % 2 == 0);
    const std::int64_t entries = c.pooled ? c.B + 3 : c.B;
    initial = tensor<4>(c.state, {entries, c.HV, c.K, c.V}, c.states);
    final = tensor<4>(c.state, {entries, c.HV, c.K, c.V}, c.states);
    for (std::int64_t n = 0; n < c.B; ++n) {
      slot.push_back(c.pooled ? (n * 2 + 1) % entries : n);
    }
    std::vector<std::int64_t> unique = slot;  // (2 n + 1) mod (B + 3) may repeat: then in order
    std::sort(unique.begin(), unique.end());
    if (std::adjacent_find(unique.begin(), unique.end()) != unique.end()) {
      for (std::int64_t n = 0; n < c.B; ++n) {
        slot[static_cast<std::size_t>(n)] = c.B + 2 - n;
      }
    }
    slots = index_tensor(slot, c.seed % 4 < 2);
    // Keys of norm about 1, so that strengths up to 2 keep the state bounded.
    const double unit = 1 / std::sqrt(static_cast<double>(c.K));
    q.fill(c.seed * 16 + 1);
    k.fill(c.seed * 16 + 2, unit);
    v.fill(c.seed * 16 + 3);
    a.fill(c.seed * 16 + 4, unit);
    b.fill(c.seed * 16 + 5, c.op == recurrence::rwkv7 ? 1 : unit);
    initial.fill(c.seed * 16 + 6);
    uniform(gate, c.seed * 16 + 7, c.gate, 0);
    uniform(beta, c.seed * 16 + 8, 0, c.op == recurrence::delta ? 1.5 : 2);
    if (c.op == recurrence::rwkv7) {
      uniform(b, c.seed * 16 + 9, 0, 1);
    }
    for (std::int64_t h = 0; h < c.HV; ++h) {
      slopes.set({h}, 0.05 * static_cast<double>(h % 7));
    }
  }

  template <std::size_t Rank>
  static void uniform(tensor<Rank>& t, std::uint64_t seed, double low, double high) {
    t.fill(seed);
    t.for_each([&](const typename tensor<Rank>::index& i) {
      const double x = 0.5 + 0.5 * std::tanh(t[i]);
      t.set(i, low + (high - low) * x);
    });
  }

  std::int64_t tokens(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return c.packed ? starts[i + 1] - starts[i] : c.T;
  }
  std::int64_t batch_of(std::int64_t n) const { return c.packed ? 0 : n; }
  std::int64_t begin_of(std::int64_t n) const {
    return c.packed ? starts[static_cast<std::size_t>(n)] : 0;
  }

  template <class S>
  seqmix::recurrence_options options() const {
    seqmix::recurrence_options x;
    x.l2norm = c.l2norm;
    x.heads = c.heads;
    x.direction = c.reverse ? seqmix::scan_direction::reverse : seqmix::scan_direction::forward;
    if (c.initial) {
      x.initial_state = initial.view<const S>();
    }
    if (c.final) {
      x.final_state = final.view<S>();
    }
    if (c.pooled && (c.initial || c.final)) {
      x.initial_slots = index_view(slots);
    }
    if (c.packed) {
      x.varlen.offsets = index_view(offsets);
    }
    return x;
  }

  void clear_outputs() {
    o.clear();
    final.clear();
  }

  recurrence_case c;
  std::vector<std::int64_t> starts, slot;
  tensor<4> q, k, v, o, gate, beta, a, b, initial, final;
  tensor<1> slopes, offsets, slots;
};

/// `ssd` with the arguments and options of the others: gates stand for steps, which may be below 0.
template <class Op>
struct ssd_like {
  const Op& op;

  static seqmix::ssd_options converted(const seqmix::recurrence_options& x) {
    return {.dt_least = -std::numeric_limits<double>::infinity(),
            .initial_state = x.initial_state,
            .final_state = x.final_state,
            .initial_slots = x.initial_slots,
            .final_slots = x.final_slots,
            .groups = x.heads,
            .direction = x.direction,
            .varlen = x.varlen,
            .checkpoints = x.checkpoints,
            .checkpoint_every = x.checkpoint_every,
            .rollback = x.rollback,
            .accumulate = x.accumulate};
  }
  void operator()(const auto& q, const auto& k, const auto& v, const auto& dt, const auto& rate,
                  const auto& o, const seqmix::recurrence_options& x = {},
                  const seqmix::context& ctx = {}) const {
    op(v, dt, rate, k, q, o, converted(x), ctx);
  }
};
/// The operator itself has the other verbs, too.
struct ssd_like_operator : ssd_like<seqmix::ssd_fn> {
  constexpr ssd_like_operator() : ssd_like<seqmix::ssd_fn>{seqmix::ssd} {}

  struct explainer {
    auto operator()(const auto& q, const auto& k, const auto& v, const auto& dt, const auto& rate,
                    const auto& o, const seqmix::recurrence_options& x = {},
                    const seqmix::context& ctx = {}) const {
      return seqmix::ssd.explain(v, dt, rate, k, q, o, converted(x), ctx);
    }
  };
  static constexpr explainer explain{};
  std::size_t workspace_bytes(const auto& q, const auto& k, const auto& v, const auto& dt,
                              const auto& rate, const auto& o,
                              const seqmix::recurrence_options& x = {},
                              const seqmix::context& ctx = {}) const {
    return seqmix::ssd.workspace_bytes(v, dt, rate, k, q, o, converted(x), ctx);
  }
};
inline constexpr ssd_like_operator ssd_like_others;
inline constexpr ssd_like<seqmix::naive_ssd_fn> naive_ssd_like_others{seqmix::naive_ssd};

/// A view of rows of one element as numbers, [B, T, HV].
template <class T, std::size_t Rank>
seqmix::tensor_view<const T, Rank - 1> without_last(const seqmix::tensor_view<const T, Rank>& x) {
  std::array<std::int64_t, Rank - 1> extents{}, strides{};
  std::copy_n(x.extents().values.begin(), Rank - 1, extents.begin());
  std::copy_n(x.strides().values.begin(), Rank - 1, strides.begin());
  return {x.data_handle(), seqmix::index_list<Rank - 1>(extents),
          seqmix::index_list<Rank - 1>(strides)};
}

/// Calls `f(operator, oracle, tensors..., options)` for the problem's operator and form.
template <class T, class O, class S, class F>
auto with_recurrence(const recurrence_problem& p, F&& f) {
  const seqmix::recurrence_options x = p.options<S>();
  const auto form = [&](const auto& in, const auto& out) {
    const auto q = in(p.q), k = in(p.k), v = in(p.v), g = in(p.gate), a = in(p.a), b = in(p.b);
    const auto beta = in(p.beta);
    const auto o = out(p.o);
    const auto number = without_last(beta);
    const auto slopes = p.slopes.view<const T>();
    switch (p.c.op) {
      case recurrence::linear:
        return f(seqmix::linear_attention, seqmix::naive_linear_attention, q, k, v, o, x);
      case recurrence::retention:
        return f(seqmix::retention, seqmix::naive_retention, q, k, v, o, x);
      case recurrence::lightning:
        return f(seqmix::lightning_attention, seqmix::naive_lightning_attention, q, k, v, slopes, o,
                 x);
      case recurrence::gla:
        return f(seqmix::gated_linear_attention, seqmix::naive_gated_linear_attention, q, k, v, g,
                 o, x);
      case recurrence::delta:
        return p.c.many_betas
                   ? f(seqmix::delta_rule, seqmix::naive_delta_rule, q, k, v, beta, o, x)
                   : f(seqmix::delta_rule, seqmix::naive_delta_rule, q, k, v, number, o, x);
      case recurrence::gdn:
        return p.c.many_betas ? f(seqmix::gated_delta_rule, seqmix::naive_gated_delta_rule, q, k, v,
                                  without_last(g), beta, o, x)
                              : f(seqmix::gated_delta_rule, seqmix::naive_gated_delta_rule, q, k, v,
                                  without_last(g), number, o, x);
      case recurrence::kda:
        return p.c.many_betas ? f(seqmix::kda, seqmix::naive_kda, q, k, v, g, beta, o, x)
                              : f(seqmix::kda, seqmix::naive_kda, q, k, v, g, number, o, x);
      case recurrence::dplr:
        return f(seqmix::dplr_delta_rule, seqmix::naive_dplr_delta_rule, q, k, v, g, a, b, o, x);
      case recurrence::ssd:
        return f(ssd_like_others, naive_ssd_like_others, q, k, v, without_last(g), slopes, o, x);
      default:
        return f(seqmix::rwkv7, seqmix::naive_rwkv7, q, k, v, g, a, b, o, x);
    }
  };
  if (p.c.packed) {
    return form([](const tensor<4>& t) { return t.packed_view<const T>(); },
                [](const tensor<4>& t) { return t.packed_view<O>(); });
  }
  return form([](const tensor<4>& t) { return t.view<const T>(); },
              [](const tensor<4>& t) { return t.view<O>(); });
}

/// The calls of one element type, compiled once.
struct recurrence_calls {
  scalar_type type;
  void (*run)(recurrence_problem&, const seqmix::context&);
  std::size_t (*workspace_bytes)(recurrence_problem&, const seqmix::context&);
  void (*oracle)(recurrence_problem&);  ///< outputs and states in double
};

template <class T>
recurrence_calls recurrence_calls_for() {
  return {seqmix::scalar_type_of<T>,
          [](recurrence_problem& p, const seqmix::context& ctx) {
            p.clear_outputs();
            with_recurrence<T, T, float>(
                p, [&](const auto& op, const auto&, const auto&... x) { op(x..., ctx); });
          },
          [](recurrence_problem& p, const seqmix::context& ctx) {
            return with_recurrence<T, T, float>(p,
                                                [&](const auto& op, const auto&, const auto&... x) {
                                                  return op.workspace_bytes(x..., ctx);
                                                });
          },
          [](recurrence_problem& p) {
            p.clear_outputs();
            with_recurrence<T, double, double>(
                p, [&](const auto&, const auto& naive, const auto&... x) { naive(x...); });
          }};
}

/// The same problem with outputs and states in double, as the oracle computes it.
inline recurrence_problem oracle_of(const recurrence_calls& calls, const recurrence_problem& p) {
  recurrence_case c = p.c;
  c.output = c.state = scalar_type::f64;
  c.outputs = c.states = layout::dense;
  recurrence_problem exact(c);
  for (auto [to, from] :
       {std::pair{&exact.q, &p.q}, std::pair{&exact.k, &p.k}, std::pair{&exact.v, &p.v},
        std::pair{&exact.gate, &p.gate}, std::pair{&exact.beta, &p.beta}, std::pair{&exact.a, &p.a},
        std::pair{&exact.b, &p.b}, std::pair{&exact.initial, &p.initial}}) {
    to->for_each([&, to = to, from = from](const tensor<4>::index& i) { to->set(i, (*from)[i]); });
  }
  exact.slopes = p.slopes;
  calls.oracle(exact);
  return exact;
}

/// Sequence n of a packed problem as a problem of its own.
inline recurrence_problem alone(const recurrence_problem& packed, std::int64_t n) {
  recurrence_case c = packed.c;
  c.packed = false;
  c.B = 1;
  c.T = packed.tokens(n);
  recurrence_problem one(c);
  const std::int64_t begin = packed.begin_of(n);
  for (auto [to, from] :
       {std::pair{&one.q, &packed.q}, std::pair{&one.k, &packed.k}, std::pair{&one.v, &packed.v},
        std::pair{&one.gate, &packed.gate}, std::pair{&one.beta, &packed.beta},
        std::pair{&one.a, &packed.a}, std::pair{&one.b, &packed.b}}) {
    to->for_each([&, to = to, from = from](const tensor<4>::index& i) {
      to->set(i, (*from)[{0, begin + i[1], i[2], i[3]}]);
    });
  }
  one.initial.for_each([&](const tensor<4>::index& i) {
    one.initial.set(i, packed.initial[{n, i[1], i[2], i[3]}]);
  });
  return one;
}

/// That the outputs and the state of sequence n are those of it alone, bit for bit.
inline bool same_bits(const recurrence_problem& one, const recurrence_problem& packed,
                      std::int64_t n) {
  bool same = true;
  one.o.for_each([&](const tensor<4>::index& i) {
    same = same && one.o.bits(i) == packed.o.bits({0, packed.begin_of(n) + i[1], i[2], i[3]});
  });
  one.final.for_each([&](const tensor<4>::index& i) {
    same = same && one.final.bits(i) == packed.final.bits({n, i[1], i[2], i[3]});
  });
  return same;
}

/// Values of the rows that belong to a sequence.
inline std::vector<double> owned_outputs(const recurrence_problem& p) {
  std::vector<double> all;
  for (std::int64_t n = 0; n < p.c.B; ++n) {
    for (std::int64_t t = 0; t < p.tokens(n); ++t) {
      for (std::int64_t h = 0; h < p.c.HV; ++h) {
        for (std::int64_t i = 0; i < p.c.V; ++i) {
          all.push_back(p.o[{p.batch_of(n), p.begin_of(n) + t, h, i}]);
        }
      }
    }
  }
  return all;
}

inline std::vector<double> owned_states(const recurrence_problem& p) {
  std::vector<double> all;
  for (std::int64_t n = 0; p.c.final && n < p.c.B; ++n) {
    for (std::int64_t i = 0; i < p.c.HV * p.c.K * p.c.V; ++i) {
      all.push_back(p.final[{p.slot[static_cast<std::size_t>(n)], i / (p.c.K * p.c.V),
                             i / p.c.V % p.c.K, i % p.c.V}]);
    }
  }
  return all;
}

/// What a call wrote, as bits.
struct recurrence_bits {
  std::vector<std::uint64_t> o, state;
  friend bool operator==(const recurrence_bits&, const recurrence_bits&) = default;
};
inline recurrence_bits bits_of(const recurrence_problem& p) {
  return {p.o.all_bits(), p.final.all_bits()};
}

/// What is wrong with the outputs, else nothing. Rows and states of nobody must be untouched.
inline std::string verify(const recurrence_problem& p, const recurrence_problem& expected,
                          const tolerance& of_output, const tolerance& of_state) {
  std::string text =
      compare(owned_outputs(p), owned_outputs(expected), of_output, bound::ceiling, 0.05);
  if (!text.empty()) {
    text = "o: " + text + "; ";
  }
  const std::string states =
      compare(owned_states(p), owned_states(expected), of_state, bound::ceiling, 0.05);
  if (!states.empty()) {
    text += "final state: " + states + "; ";
  }
  if (!p.o.gaps_untouched() || !p.final.gaps_untouched()) {
    text += "memory that is not its own was written; ";
  }
  bool foreign = false;
  p.final.for_each([&](const tensor<4>::index& i) {
    const bool own = p.c.final && std::find(p.slot.begin(), p.slot.end(), i[0]) != p.slot.end();
    foreign |= !own && !p.final.untouched(i);
  });
  if (p.c.packed) {
    p.o.for_each([&](const tensor<4>::index& i) {
      foreign |= i[1] >= p.starts.back() && !p.o.untouched(i);
    });
  }
  return text + (foreign ? "rows or states of nobody were written; " : "");
}

}  // namespace seqmix_test
