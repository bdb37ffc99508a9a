// SPDX-License-Identifier: Apache-2.0
#include "attention.hpp"

#include <algorithm>
#include <concepts>
#include <stdexcept>

namespace {

seqmix::rope_options rotation_of(const model_config& c) {
  return {.layout = seqmix::rope_layout::half_split, .base = c.rope_base};
}

template <class Cache>
std::size_t bytes_of(const std::vector<Cache>& caches) {
  std::size_t sum = 0;
  for (const Cache& cache : caches) {
    sum += cache.bytes();
  }
  return sum;
}

/// A dense view of `scratch` in the shape of x.
template <class T, class X>
seqmix::tensor_view<T, 4> shaped_as(const X& x, std::vector<T>& scratch) {
  const auto size = static_cast<std::size_t>(x.size());
  scratch.resize(std::max(scratch.size(), size));
  return {scratch.data(), x.extents()};
}

}  // namespace

template <class T>
full_attention<T>::full_attention(const model_config& c, int capacity, seqmix::device_policy device)
    : rotation_(rotation_of(c)),
      device_(device),
      caches_(static_cast<std::size_t>(c.layers),
              seqmix::kv_cache<T>(1, capacity, c.kv_heads, c.head_dim, c.head_dim)) {}

template <class T>
void full_attention<T>::attend(std::size_t layer, const attention_rows& t,
                               const seqmix::context& ctx) {
  seqmix::kv_cache<T>& cache = caches_[layer];
  seqmix::rope_options rotation = rotation_;
  rotation.position_offset = cache.length(0);
  seqmix::context where = ctx;
  where.device = device_;
  // The keys in use end with the new ones: the causal bound lets each token see all up to itself.
  if constexpr (std::same_as<T, float>) {
    seqmix::rope_inplace(t.q, rotation, ctx);
    seqmix::rope_inplace(t.k, rotation, ctx);
    cache.append(t.k, t.v);
    seqmix::softmax_attention(t.q, cache.view(), t.o, {.causal = true}, where);
  } else {
    const auto q = shaped_as(t.q, q_);
    const auto k = shaped_as(t.k, k_);
    const auto v = shaped_as(t.v, v_);
    const auto o = shaped_as(t.o, o_);
    seqmix::rope(t.q, q, rotation, ctx);
    seqmix::rope(t.k, k, rotation, ctx);
    std::transform(t.v.data_handle(), t.v.data_handle() + t.v.size(), v_.data(),
                   [](float x) { return T(x); });
    cache.append(k, v);
    seqmix::softmax_attention(q, cache.view(), o, {.causal = true}, where);
    std::transform(o_.data(), o_.data() + o.size(), t.o.data_handle(),
                   [](T x) { return static_cast<float>(x); });
  }
}

template <class T>
void full_attention<T>::clear() {
  for (seqmix::kv_cache<T>& cache : caches_) {
    cache.truncate(0);
  }
}

template <class T>
std::size_t full_attention<T>::bytes() const {
  return bytes_of(caches_);
}

template class full_attention<float>;
template class full_attention<seqmix::f16>;

window_attention::window_attention(const model_config& c, int sinks, int window)
    : caches_(static_cast<std::size_t>(c.layers),
              seqmix::sink_window_cache<float>(
                  1, c.kv_heads, c.head_dim, c.head_dim,
                  {.sinks = sinks, .window = window, .rope = rotation_of(c)})) {}

void window_attention::attend(std::size_t layer, const attention_rows& t,
                              const seqmix::context& ctx) {
  caches_[layer].attend(t.q, t.k, t.v, t.o, {}, ctx);
}

void window_attention::clear() {
  for (seqmix::sink_window_cache<float>& cache : caches_) {
    cache.truncate(0);
  }
}

std::size_t window_attention::bytes() const { return bytes_of(caches_); }

session_attention attention_for(const model_config& config, int capacity,
                                const attention_choice& choice) {
  if (choice.window > 0) {
    if (choice.half || choice.device == seqmix::device_policy::cuda) {
      throw std::invalid_argument("a window runs in fp32 on the CPU");
    }
    return window_attention(config, choice.sinks, choice.window);
  }
  if (choice.half) {
    return full_attention<seqmix::f16>(config, capacity, choice.device);
  }
  return full_attention<float>(config, capacity, choice.device);
}
