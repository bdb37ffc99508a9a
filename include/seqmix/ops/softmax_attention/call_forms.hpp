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

// From the arguments of a call to its descriptor: the batched, the packed and the cached form, each
// with functors and without, for every name that the operator goes by.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// An element type of a cache.
template <class T>
concept cache_scalar = real_scalar<T> || is_quantised<T>;

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

/// The operator under its own name. Other names complete the options, and ask more of them.
struct plain_name {
  static constexpr const char* name = softmax_attention_problem::operator_name;
  static softmax_attention_options complete(const softmax_attention_options& options,
                                            std::int64_t /*key_dim*/) {
    return options;
  }
  template <class Tag>
  static void check(contract<Tag>& /*c*/, const softmax_attention_options& /*options*/) {}
};

/// Checks a call, and completes its descriptor.
template <class Arch, class Name>
attention_call<Arch> checked_call(softmax_attention_problem& p,
                                  const softmax_attention_options& options, const kv_layout& layout,
                                  dispatch::header_list<softmax_attention_problem> cpu) {
  contract<Arch> c{Name::name};
  Name::check(c, options);
  check_attention(c, p, Name::complete(options, p.key_dim()), layout);
  return {p, p.q.memory, c.result(), cpu};
}

template <class X>
using element_of = std::remove_const_t<typename X::element_type>;

template <class Arch, class Name, class Q, class K, class V, class O>
attention_call<Arch> bind_attention(const Q& q, const K& k, const V& v, const O& o,
                                    const softmax_attention_options& options,
                                    const kv_layout& layout = {}) {
  softmax_attention_problem p = describe_attention(q, k, v, o, options, layout);
  return checked_call<Arch, Name>(
      p, options, layout,
      softmax_attention_cpu<element_of<Q>, element_of<K>, element_of<V>, element_of<O>, Arch>);
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

template <class Arch, class Name, class Route, class Q, class K, class V, class O, class Functors>
attention_call<Arch> bind_functors(const Q& q, const K& k, const V& v, const O& o,
                                   const Functors& functors,
                                   const softmax_attention_options& options,
                                   const kv_layout& layout = {}) {
  softmax_attention_problem p = describe_attention(q, k, v, o, options, layout);
  p.score = functors.score;
  p.mask = functors.mask;
  return checked_call<Arch, Name>(
      p, options, layout,
      Route::template list<element_of<Q>, element_of<K>, element_of<V>, element_of<O>, Arch,
                           typename Functors::score_type, typename Functors::mask_type>);
}

/// The forms of the call, once for everything that it can be asked for.
template <class Verb, class Name = plain_name>
struct attention_forms {
  template <class Arch = simd::default_arch, class Q, class K, class V, class O>
    requires sequence_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_attention<Arch, Name>(q, k, v, o, options), ctx);
  }
  template <class Arch = simd::default_arch, class Q, cache_scalar TK, cache_scalar TV, class O>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_attention<Arch, Name>(q, kv.k, kv.v, o, options, kv.layout), ctx);
  }

  // With a score functor or a mask functor.
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class K, class V,
            class O, attention_functor F>
    requires sequence_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o, const F& functor,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_functors<Arch, Name, Route>(q, k, v, o, one_functor(functor), options),
                    ctx);
  }
  template <class Arch = simd::default_arch, class Route = default_route, class Q, cache_scalar TK,
            cache_scalar TV, class O, attention_functor F>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const F& functor,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_functors<Arch, Name, Route>(q, kv.k, kv.v, o, one_functor(functor),
                                                     options, kv.layout),
                    ctx);
  }

  // With both.
  template <class Arch = simd::default_arch, class Route = default_route, class Q, class K, class V,
            class O, attention_score S, attention_mask M>
    requires sequence_tensors<Q, K, V, O>
  auto operator()(const Q& q, const K& k, const V& v, const O& o, const S& score, const M& mask,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(
        bind_functors<Arch, Name, Route>(q, k, v, o, functor_pair<S, M>{&score, &mask}, options),
        ctx);
  }
  template <class Arch = simd::default_arch, class Route = default_route, class Q, cache_scalar TK,
            cache_scalar TV, class O, attention_score S, attention_mask M>
    requires decode_tensors<Q, O>
  auto operator()(const Q& q, const kv_view<TK, TV>& kv, const O& o, const S& score, const M& mask,
                  const softmax_attention_options& options = {}, const context& ctx = {}) const {
    return Verb::of(bind_functors<Arch, Name, Route>(
                        q, kv.k, kv.v, o, functor_pair<S, M>{&score, &mask}, options, kv.layout),
                    ctx);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
