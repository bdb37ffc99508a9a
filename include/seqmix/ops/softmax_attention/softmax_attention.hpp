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

/// The same with a score functor, which must outlive the call.
template <class Arch, class Route, class Q, class K, class V, class O, class Score>
attention_call<Arch> bind_scored(const Q& q, const K& k, const V& v, const O& o, const Score& score,
                                 const softmax_attention_options& options,
                                 const kv_layout& layout = {}) {
  softmax_attention_problem p = describe_attention(q, k, v, o, options, layout);
  p.score = &score;
  violation broken = check_attention<Arch>(p, options, layout);
  return {p, p.q.memory, std::move(broken),
          Route::template list<element_of<Q>, element_of<K>, element_of<V>, element_of<O>, Arch,
                               Score>};
}

}  // namespace detail

/// Exact softmax attention, without ever holding a T x S matrix.
///
///     s_ij = softcap(scale q_i.k_j) - a_h |i + off - j| + bias_ij   for the keys j that row i sees
///     o_i  = sum_j e^(s_ij - LSE_i) v_j,       LSE_i = log(e^(b_h) + sum_j e^(s_ij))
///
/// with cap, slopes a, bias and sink logits b of the options, each absent by default.
///
/// Three forms of the call:
///     batched   q [B, T, H, D], k [B, S, HK, D], v [B, S, HK, V], o [B, T, H, V]
///     packed    q [total, H, D], k, v, o likewise, with `options.varlen`
///     cached    q and o as batched, a `kv_view` in place of k and v: contiguous, or paged
///
/// Each also with a score functor after the output (`attention_score`), which changes s_ij.
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
struct softmax_attention_fn {
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires detail::attention_tensors<Q, K, V, O>
  void operator()(const Q& q, const K& k, const V& v, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_attention<Arch>(q, k, v, o, options).run(ctx);
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O>
    requires detail::decode_tensors<Q, O>
  void operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_attention<Arch>(q, kv.k, kv.v, o, options, kv.layout).run(ctx);
  }

  /// With a score functor: what it makes of each scaled score takes the score's place. On a GPU the
  /// call has to be in a .cu file, and includes <seqmix/cuda/softmax_attention/functor.cuh>.
  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class K,
            class V, class O, attention_score Score>
    requires detail::attention_tensors<Q, K, V, O>
  void operator()(const Q& q, const K& k, const V& v, const O& o, const Score& score,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_scored<Arch, Route>(q, k, v, o, score, options).run(ctx);
  }
  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class TK,
            class TV, class O, attention_score Score>
    requires detail::decode_tensors<Q, O>
  void operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const Score& score,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    detail::bind_scored<Arch, Route>(q, kv.k, kv.v, o, score, options, kv.layout).run(ctx);
  }

  /// Which implementation the same call would run, and what each other one lacks. Runs nothing.
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires detail::attention_tensors<Q, K, V, O>
  dispatch_report explain(const Q& q, const K& k, const V& v, const O& o,
                          const softmax_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_attention<Arch>(q, k, v, o, options).explain(ctx);
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O>
    requires detail::decode_tensors<Q, O>
  dispatch_report explain(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                          const softmax_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_attention<Arch>(q, kv.k, kv.v, o, options, kv.layout).explain(ctx);
  }

  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class K,
            class V, class O, attention_score Score>
    requires detail::attention_tensors<Q, K, V, O>
  dispatch_report explain(const Q& q, const K& k, const V& v, const O& o, const Score& score,
                          const softmax_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_scored<Arch, Route>(q, k, v, o, score, options).explain(ctx);
  }
  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class TK,
            class TV, class O, attention_score Score>
    requires detail::decode_tensors<Q, O>
  dispatch_report explain(const Q& q, const kv_view<TK, TV>& kv, const O& o, const Score& score,
                          const softmax_attention_options& options = {},
                          const context& ctx = {}) const {
    return detail::bind_scored<Arch, Route>(q, kv.k, kv.v, o, score, options, kv.layout)
        .explain(ctx);
  }

  /// The bytes of `context.workspace` that the same call needs.
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires detail::attention_tensors<Q, K, V, O>
  std::size_t workspace_bytes(const Q& q, const K& k, const V& v, const O& o,
                              const softmax_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_attention<Arch>(q, k, v, o, options).workspace_bytes(ctx);
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O>
    requires detail::decode_tensors<Q, O>
  std::size_t workspace_bytes(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                              const softmax_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_attention<Arch>(q, kv.k, kv.v, o, options, kv.layout).workspace_bytes(ctx);
  }
  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class K,
            class V, class O, attention_score Score>
    requires detail::attention_tensors<Q, K, V, O>
  std::size_t workspace_bytes(const Q& q, const K& k, const V& v, const O& o, const Score& score,
                              const softmax_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_scored<Arch, Route>(q, k, v, o, score, options).workspace_bytes(ctx);
  }
  template <class Arch = simd::default_arch, class Route = detail::default_route, class Q, class TK,
            class TV, class O, attention_score Score>
    requires detail::decode_tensors<Q, O>
  std::size_t workspace_bytes(const Q& q, const kv_view<TK, TV>& kv, const O& o, const Score& score,
                              const softmax_attention_options& options = {},
                              const context& ctx = {}) const {
    return detail::bind_scored<Arch, Route>(q, kv.k, kv.v, o, score, options, kv.layout)
        .workspace_bytes(ctx);
  }
};

inline constexpr softmax_attention_fn softmax_attention{};

/// The oracle: the same call, contract and results, computed pair by pair in double. For tests,
/// yours too; its time is that of a plain loop nest.
struct naive_softmax_attention_fn {
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires detail::attention_tensors<Q, K, V, O>
  void operator()(const Q& q, const K& k, const V& v, const O& o,
                  const softmax_attention_options& options = {}) const {
    detail::bind_attention<Arch>(q, k, v, o, options).run({.pin = {.implementation = "naive"}});
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O>
    requires detail::decode_tensors<Q, O>
  void operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                  const softmax_attention_options& options = {}) const {
    detail::bind_attention<Arch>(q, kv.k, kv.v, o, options, kv.layout)
        .run({.pin = {.implementation = "naive"}});
  }
  template <class Arch = simd::default_arch, class Q, class K, class V, class O,
            attention_score Score>
    requires detail::attention_tensors<Q, K, V, O>
  void operator()(const Q& q, const K& k, const V& v, const O& o, const Score& score,
                  const softmax_attention_options& options = {}) const {
    detail::bind_scored<Arch, detail::host_route>(q, k, v, o, score, options)
        .run({.pin = {.implementation = "naive"}});
  }
  template <class Arch = simd::default_arch, class Q, class TK, class TV, class O,
            attention_score Score>
    requires detail::decode_tensors<Q, O>
  void operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const Score& score,
                  const softmax_attention_options& options = {}) const {
    detail::bind_scored<Arch, detail::host_route>(q, kv.k, kv.v, o, score, options, kv.layout)
        .run({.pin = {.implementation = "naive"}});
  }
};

inline constexpr naive_softmax_attention_fn naive_softmax_attention{};

SEQMIX_END_NAMESPACE
