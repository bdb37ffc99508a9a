// SPDX-License-Identifier: Apache-2.0
// What a user's own .cu file does: functors of its own, compiled into the kernels.
#include <seqmix/common/math.hpp>
#include <seqmix/cuda/softmax_attention/functor.cuh>
#include <stdexcept>

#include "seqmix_gpu.hpp"

namespace seqmix_gpu {

namespace {

/// With `Fast` for who is content with the error of a GPU's own tanh.
template <bool Fast>
struct softcap {
  float cap;
  float inverse = 1 / cap;  // a division for each score would cost as much as its tanh
  SEQMIX_HOST_DEVICE float operator()(float score, const seqmix::score_context& /*at*/) const {
    const float x = score * inverse;
    return cap * (Fast ? seqmix::math::fast_tanh(x) : seqmix::math::tanh(x));
  }
};

/// Hides few pairs, in every block some, so that a kernel can skip none and pays for asking.
struct sparse {
  SEQMIX_HOST_DEVICE bool operator()(const seqmix::score_context& at) const {
    return (at.query + at.key) % 16 != 0;
  }
};

/// What the option `causal` does, as a user would write it.
struct causal {
  SEQMIX_HOST_DEVICE bool operator()(const seqmix::score_context& at) const {
    return at.key <= at.query + at.keys - at.queries;
  }
  SEQMIX_HOST_DEVICE seqmix::block_visibility classify(const seqmix::mask_block& b) const {
    const std::int64_t off = b.keys - b.queries;
    if (b.key_begin > b.query_end - 1 + off) {
      return seqmix::block_visibility::empty;
    }
    return b.key_end - 1 <= b.query_begin + off ? seqmix::block_visibility::full
                                                : seqmix::block_visibility::partial;
  }
};

/// Calls op(functor, q, k, v, o, options, context). The kernels are compiled again for each functor
/// and type, hence one type.
void with_functor(const seqmix_gpu_call& c, const auto& op) {
  if (c.bf16 == 0 || c.lengths != nullptr) {
    throw std::invalid_argument("functors are compiled for bf16 here, and for calls without cache");
  }
  const auto call = [&](const auto& functor) {
    with_views<seqmix::bf16>(c, [&](const auto&... arguments) {
      if constexpr (sizeof...(arguments) == 6) {
        op(functor, arguments...);
      }
    });
  };
  switch (c.functor) {
    case seqmix_gpu_softcap_functor:
      return call(softcap<false>{static_cast<float>(c.softcap)});
    case seqmix_gpu_fast_softcap_functor:
      return call(softcap<true>{static_cast<float>(c.softcap)});
    case seqmix_gpu_sparse_functor:
      return call(sparse{});
    case seqmix_gpu_causal_functor:
      return call(causal{});
    default:
      throw std::invalid_argument("there is no such functor");
  }
}

}  // namespace

void run_functor(const seqmix_gpu_call& c, std::int64_t repeats) {
  with_functor(c, [&](const auto& functor, const auto& q, const auto& k, const auto& v,
                      const auto& o, const auto& options, const auto& ctx) {
    for (std::int64_t i = 0; i < repeats; ++i) {
      seqmix::softmax_attention(q, k, v, o, functor, options, ctx);
    }
  });
}

std::string explain_functor(const seqmix_gpu_call& c) {
  std::string text;
  with_functor(c, [&](const auto& functor, const auto& q, const auto& k, const auto& v,
                      const auto& o, const auto& options, const auto& ctx) {
    text = seqmix::softmax_attention.explain(q, k, v, o, functor, options, ctx).text();
  });
  return text;
}

}  // namespace seqmix_gpu
