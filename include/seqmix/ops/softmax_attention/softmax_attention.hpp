// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/core/view_of.hpp>
#include <seqmix/dispatch/call.hpp>
#include <seqmix/ops/softmax_attention/check.hpp>
#include <seqmix/ops/softmax_attention/cpu.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <seqmix/ops/softmax_attention/options.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Tensors of the batched (rank 4) or the packed (rank 3) form of a call.
template <class Q, class K, class V, class O>
concept attention_tensors =
    ((view_of<Q, 4> && view_of<K, 4> && view_of<V, 4> && mutable_view_of<O, 4>) ||
     (view_of<Q, 3> && view_of<K, 3> && view_of<V, 3> && mutable_view_of<O, 3>)) &&
    real_scalar<typename Q::element_type> && real_scalar<typename K::element_type> &&
    real_scalar<typename V::element_type> && real_scalar<typename O::element_type>;

/// Queries and output of the cached form.
template <class Q, class O>
concept decode_tensors =
    view_of<Q, 4> && mutable_view_of<O, 4> && real_scalar<typename Q::element_type> &&
    real_scalar<typename O::element_type>;

template <class Arch>
using attention_call = dispatch::call<Arch, softmax_attention_problem>;

/// The descriptor of a call, without what its check completes.
template <class Q, class K, class V, class O>
softmax_attention_problem describe_attention(const Q& q, const K& k, const V& v, const O& o,
                                             const softmax_attention_options& options,
                                             const kv_layout& layout) {
  softmax_attention_problem p;
  p.q = with_batch_axis(q);
  p.k = with_batch_axis(k);
  p.v = with_batch_axis(v);
  p.o = with_batch_axis(o);
  p.packed = Q::rank() == 3;
  p.k_lengths = p.packed ? options.varlen.k_lengths : layout.lengths;
  return p;
}

template <class X>
using element_of = std::remove_const_t<typename X::element_type>;

template <class Arch, class Q, class K, class V, class O>
attention_call<Arch> bind_attention(const Q& q, const K& k, const V& v, const O& o,
                                    const softmax_attention_options& options,
                                    const kv_layout& layout = {}) {
  softmax_attention_problem p = describe_attention(q, k, v, o, options, layout);
  violation broken = check_attention<Arch>(p, options, layout);
  return {p, p.q.memory, std::move(broken),
          softmax_attention_cpu<element_of<Q>, element_of<K>, element_of<V>, element_of<O>, Arch>};
}

/// The functors of a call, which must outlive it: a score functor, a mask functor, or both.
template <class Score, class Mask>
struct functor_pair {
  using score_type = Score;
  using mask_type = Mask;
  const Score* score = nullptr;
  const Mask* mask = nullptr;
};

template <class F>
concept attention_functor = attention_score<F> || attention_mask<F>;

template <class F>
constexpr auto one_functor(const F& f) noexcept {
  if constexpr (attention_score<F>) {
    return functor_pair<F, void>{&f, nullptr};
  } else {
    return functor_pair<void, F>{nullptr, &f};
  }
}

template <class Arch, class Route, class Q, class K, class V, class O, class Functors>
attention_call<Arch> bind_functors(const Q& q, const K& k, const V& v, const O& o,
                                   const Functors& functors,
                                   const softmax_attention_options& options,
                                   const kv_layout& layout = {}) {
  softmax_attention_problem p = describe_attention(q, k, v, o, options, layout);
  p.score = functors.score;
  p.mask = functors.mask;
  violation broken = check_attention<Arch>(p, options, layout);
  return {p, p.q.memory, std::move(broken),
          Route::template list<element_of<Q>, element_of<K>, element_of<V>, element_of<O>, Arch,
                               typename Functors::score_type, typename Functors::mask_type>};
}

/// What a call can be asked for.
struct run_call {
  template <class Call>
  static void of(const Call& call, const context& ctx) {
    call.run(ctx);
  }
};
struct explain_call {
  template <class Call>
  static dispatch_report of(const Call& call, const context& ctx) {
    return call.explain(ctx);
  }
};
struct measure_call {
  template <class Call>
  static std::size_t of(const Call& call, const context& ctx) {
    return call.workspace_bytes(ctx);
  }
};
struct run_oracle {
  template <class Call>
  static void of(const Call& call, context ctx) {
    ctx.pin = {.implementation = "naive"};
    call.run(ctx);
  }
};

/// The forms of the call, once for everything that it can be asked for.
template <class Verb>
struct attention_forms {
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires attention_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_attention<Arch>(q, k, v, o, options), ctx);
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_attention<Arch>(q, kv.k, kv.v, o, options, kv.layout), ctx);
  }

  // With a score functor or a mask functor.
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class K, class V,
            class O, attention_functor F>
    requires attention_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o, const F& functor,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_functors<Arch, Route>(q, k, v, o, one_functor(functor), options), ctx);
  }
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class TK,
            class TV, class O, attention_functor F>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const F& functor,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(
        bind_functors<Arch, Route>(q, kv.k, kv.v, o, one_functor(functor), options, kv.layout),
        ctx);
  }

  // With both.
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class K, class V,
            class O, attention_score S, attention_mask M>
    requires attention_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o, const S& score, const M& mask,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(
        bind_functors<Arch, Route>(q, k, v, o, functor_pair<S, M>{&score, &mask}, options), ctx);
  }
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class TK,
            class TV, class O, attention_score S, attention_mask M>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const S& score, const M& mask,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_functors<Arch, Route>(q, kv.k, kv.v, o, functor_pair<S, M>{&score, &mask},
                                               options, kv.layout),
                    ctx);
  }
};

}  // namespace detail

/// Exact softmax attention, without ever holding a T x S matrix.
///
///     s_ij = softcap(scale q_i.k_j) - a_h |i + off - j| + bias_ij + relative_bias_i[i + off - j]
///            for the keys j that row i sees
///     o_i  = sum_j e^(s_ij - LSE_i) v_j,       LSE_i = log(e^(b_h) + sum_j e^(s_ij))
///
/// with cap, slopes a, biases and sink logits b of the options, each absent by default. ALiBi's
/// distance may be one between index vectors, |f_i - g_j| (`alibi_index`).
///
/// Three forms of the call:
///     batched   q [B, T, H, D], k [B, S, HK, D], v [B, S, HK, V], o [B, T, H, V]
///     packed    q [total, H, D], k, v, o likewise, with `options.varlen`
///     cached    q and o as batched, a `kv_view` in place of k and v: contiguous, or paged
///
/// Each also with functors after the output: a score functor (`attention_score`), which changes
/// s_ij, a mask functor (`attention_mask`), which hides pairs, or both in this order. On a GPU such
/// a call is in a .cu file that includes <seqmix/cuda/softmax_attention/functor.cuh>.
///
/// H is a multiple of HK: query head h reads key-value head h / (H / HK). D and V are 1 to 1024 and
/// may differ. Elements are float, double, f16 or bf16, each tensor its own; scores and sums are
/// kept in float, or in double when any tensor is double. Any strides. `o` shares no memory with an
/// input. Causal and window bounds are aligned bottom-right: `off = S - T`.
///
/// A row that sees no key gets zeros and a log-sum-exp of minus infinity, or of its sink logit. A
/// row's bits depend neither on the other sequences nor on the executor. Non-finite values reach
/// only rows that see them.
///
/// Work: 2 (D + V) operations per visible pair of query and key. Scratch: none that grows with S
/// while queries are many; 2 + V numbers per query row and granule of keys when they are few.
/// Errors: `seqmix::error` for every violated line of this contract, with nothing written.
/// Algorithm: Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
/// IO-Awareness", 2022.
struct softmax_attention_fn : detail::attention_forms<detail::run_call> {
  /// Which implementation the same call would run, and what each other one lacks. Takes the same
  /// arguments; runs nothing; gives a `dispatch_report`.
  static constexpr detail::attention_forms<detail::explain_call> explain{};

  /// The bytes of `context.workspace` that the same call needs.
  static constexpr detail::attention_forms<detail::measure_call> workspace_bytes{};
};

inline constexpr softmax_attention_fn softmax_attention{};

/// The oracle: the same call, contract and results, computed pair by pair in double. For tests,
/// yours too; its time is that of a plain loop nest.
struct naive_softmax_attention_fn : detail::attention_forms<detail::run_oracle> {};

inline constexpr naive_softmax_attention_fn naive_softmax_attention{};

SEQMIX_END_NAMESPACE
