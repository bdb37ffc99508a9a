// SPDX-License-Identifier: Apache-2.0
#include "attention.hpp"

#include <algorithm>
#include <concepts>

namespace {

seqmix::rope_options rotation_of(const model_config& c) {
  return {.layout = seqmix::rope_layout::half_split, .base = c.rope_base};
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
      cache_(1, capacity, c.kv_heads, c.head_dim, c.head_dim) {}

template <class T>
void full_attention<T>::attend(const attention_rows& t, const seqmix::context& ctx) {
  seqmix::rope_options rotation = rotation_;
  rotation.position_offset = cache_.length(0);
  seqmix::context where = ctx;
  where.device = device_;
  // The keys in use end with the new ones: the causal bound lets each token see all up to itself.
  if constexpr (std::same_as<T, float>) {
    seqmix::rope_inplace(t.q, rotation, ctx);
    seqmix::rope_inplace(t.k, rotation, ctx);
    cache_.append(t.k, t.v);
    seqmix::softmax_attention(t.q, cache_.view(), t.o, {.causal = true}, where);
  } else {
    const auto q = shaped_as(t.q, q_);
    const auto k = shaped_as(t.k, k_);
    const auto v = shaped_as(t.v, v_);
    const auto o = shaped_as(t.o, o_);
    seqmix::rope(t.q, q, rotation, ctx);
    seqmix::rope(t.k, k, rotation, ctx);
    std::transform(t.v.data_handle(), t.v.data_handle() + t.v.size(), v_.data(),
                   [](float x) { return T(x); });
    cache_.append(k, v);
    seqmix::softmax_attention(q, cache_.view(), o, {.causal = true}, where);
    std::transform(o_.data(), o_.data() + o.size(), t.o.data_handle(),
                   [](T x) { return static_cast<float>(x); });
  }
}

template class full_attention<float>;
template class full_attention<seqmix::f16>;

window_attention::window_attention(const model_config& c, int sinks, int window)
    : cache_(1, c.kv_heads, c.head_dim, c.head_dim,
             {.sinks = sinks, .window = window, .rope = rotation_of(c)}) {}

void window_attention::attend(const attention_rows& t, const seqmix::context& ctx) {
  cache_.attend(t.q, t.k, t.v, t.o, {}, ctx);
}
