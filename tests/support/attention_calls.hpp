// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>

#include "attention_problem.hpp"
#include "pool.hpp"

namespace seqmix_test {

template <class Type>
constexpr attention_types types_of_all() noexcept {
  constexpr scalar_type t = seqmix::scalar_type_of<Type>;
  return {t, t, t, t};
}

/// Calls `f(tensors..., options)` with the views of the problem's form.
template <class TQ, class TK, class TV, class TO, class F>
auto with_views(attention_problem& p, F&& f) {
  const seqmix::softmax_attention_options options = p.options();
  switch (p.c.form) {
    case call_form::batched:
      return f(p.q.view<const TQ>(), p.k.view<const TK>(), p.v.view<const TV>(), p.o.view<TO>(),
               options);
    case call_form::packed:
      return f(p.q.packed_view<TQ>(), p.k.packed_view<TK>(), p.v.packed_view<TV>(),
               p.o.packed_view<TO>(), options);
    case call_form::paged:
      return f(p.q.view<TQ>(),
               seqmix::kv_view(
                   p.k_pool.view<const TK>(), p.v_pool.view<const TV>(),
                   {.lengths = index_view(p.lengths), .block_table = index_view(p.block_table)}),
               p.o.view<TO>(), options);
    default:
      return f(p.q.view<TQ>(),
               seqmix::kv_view(p.k.view<const TK>(), p.v.view<const TV>(),
                               {.lengths = index_view(p.lengths)}),
               p.o.view<TO>(), options);
  }
}

/// softmax_attention for fixed element types, with the types out of its signature: what loops over
/// cases is compiled once.
struct attention_calls {
  attention_types types;
  void (*run)(attention_problem&, const seqmix::context&);
  std::size_t (*workspace_bytes)(attention_problem&, const seqmix::context&);
  seqmix::dispatch_report (*explain)(attention_problem&, const seqmix::context&);
};

template <class TQ, class TK = TQ, class TV = TK, class TO = TQ>
attention_calls calls_for() {
  return {{seqmix::scalar_type_of<TQ>, seqmix::scalar_type_of<TK>, seqmix::scalar_type_of<TV>,
           seqmix::scalar_type_of<TO>},
          [](attention_problem& p, const seqmix::context& ctx) {
            with_views<TQ, TK, TV, TO>(
                p, [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
          },
          [](attention_problem& p, const seqmix::context& ctx) {
            return with_views<TQ, TK, TV, TO>(p, [&](const auto&... a) {
              return seqmix::softmax_attention.workspace_bytes(a..., ctx);
            });
          },
          [](attention_problem& p, const seqmix::context& ctx) {
            return with_views<TQ, TK, TV, TO>(
                p, [&](const auto&... a) { return seqmix::softmax_attention.explain(a..., ctx); });
          }};
}

/// The CPU has all but the last two, the GPU the first and the last two.
enum class algorithm { automatic, tiled, split_kv, naive, two_pass, three_pass, prefill, decode };
inline constexpr int algorithm_count = 8;

constexpr const char* name(algorithm a) noexcept {
  constexpr const char* names[] = {"automatic", "tiled",      "split_kv", "naive",
                                   "two_pass",  "three_pass", "prefill",  "decode"};
  return names[static_cast<int>(a)];
}

constexpr seqmix::pin_options pin_of(algorithm a) noexcept {
  switch (a) {
    case algorithm::tiled:
      return {.implementation = "flash", .algorithm = "tiled"};
    case algorithm::split_kv:
      return {.implementation = "flash", .algorithm = "split_kv"};
    case algorithm::naive:
      return {.implementation = "naive"};
    case algorithm::two_pass:
      return {.implementation = "flash", .algorithm = "two_pass"};
    case algorithm::three_pass:
      return {.implementation = "flash", .algorithm = "three_pass"};
    case algorithm::prefill:
      return {.implementation = "cuda", .algorithm = "prefill"};
    case algorithm::decode:
      return {.implementation = "cuda", .algorithm = "decode"};
    default:
      return {};
  }
}

/// How a call is run.
struct execution {
  algorithm how = algorithm::automatic;
  int threads = 1;            ///< 1: the default executor
  std::uint64_t shuffle = 0;  ///< seed of a shuffled order; 0: in order
  bool user_workspace = false;
  std::size_t workspace_shift = 0;

  friend std::ostream& operator<<(std::ostream& out, const execution& e) {
    return out << name(e.how) << ", threads " << e.threads << ", shuffle " << e.shuffle
               << (e.user_workspace ? ", user workspace" : "");
  }
};

/// split_kv refuses more rows than this for a key-value head.
inline constexpr std::int64_t split_kv_limit = 128;

inline bool can_run(const attention_problem& p, algorithm how) {
  const bool softmax = p.c.normaliser.weights == seqmix::attention_weights::softmax;
  const bool reweighted = p.c.normaliser.sharpen > 0;
  switch (how) {
    case algorithm::tiled:
      return !reweighted;
    case algorithm::split_kv:
      return !reweighted && p.most_rows_per_kv_head() <= split_kv_limit;
    case algorithm::two_pass:
      return softmax || reweighted;
    case algorithm::three_pass:
      return softmax;
    default:
      return true;
  }
}

/// Clears the outputs and runs; returns what is wrong with the scratch memory, else nothing.
inline std::string run(const attention_calls& calls, attention_problem& p, const execution& e) {
  p.clear_outputs();
  if (p.c.form == call_form::paged) {
    p.fill_pool();  // a test may have changed keys and values
  }
  pool_executor pool(e.threads, e.shuffle);
  seqmix::context ctx{.pin = pin_of(e.how)};
  if (e.threads > 1 || e.shuffle != 0) {
    ctx.executor = pool;
  }
  if (!e.user_workspace) {
    calls.run(p, ctx);
    return {};
  }
  guarded_workspace scratch(calls.workspace_bytes(p, ctx), e.workspace_shift);
  ctx.workspace = scratch.span();
  calls.run(p, ctx);
  return scratch.guards_untouched() ? "" : "memory outside the workspace was written; ";
}

/// Everything that a call wrote, as bits.
struct output_bits {
  std::vector<std::uint64_t> o, lse;
  friend bool operator==(const output_bits&, const output_bits&) = default;
};

inline output_bits bits_of(const attention_problem& p) {
  output_bits b{p.o.all_bits(), {}};
  if (p.c.lse != scalar_type::none) {
    b.lse = p.lse.all_bits();
  }
  return b;
}

/// The bits of one sequence's rows.
inline output_bits bits_of(const attention_problem& p, const sequence_place& s) {
  output_bits b;
  for (std::int64_t i = 0; i < s.queries; ++i) {
    for (std::int64_t h = 0; h < p.c.H; ++h) {
      for (std::int64_t x = 0; x < p.c.V; ++x) {
        b.o.push_back(p.o.bits({s.batch, s.q_begin + i, h, x}));
      }
      if (p.c.lse != scalar_type::none) {
        b.lse.push_back(p.lse.bits({s.batch, h, s.q_begin + i}));
      }
    }
  }
  return b;
}

}  // namespace seqmix_test
