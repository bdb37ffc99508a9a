// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/score.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What a mask says of a block, also one that says nothing of blocks.
template <class M>
SEQMIX_HOST_DEVICE constexpr block_visibility ask_of_block(const M& mask, const mask_block& block) {
  if constexpr (block_attention_mask<M>) {
    return mask.classify(block);
  } else {
    return block_visibility::partial;
  }
}

}  // namespace detail

/// Pairs that both of two masks show.
template <class A, class B>
struct both_masks {
  A a;
  B b;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const {
    return a(at) && b(at);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& block) const {
    const block_visibility x = detail::ask_of_block(a, block);
    const block_visibility y = detail::ask_of_block(b, block);
    if (x == block_visibility::empty || y == block_visibility::empty) {
      return block_visibility::empty;
    }
    return x == y ? x : block_visibility::partial;
  }
};
template <class A, class B>
both_masks(A, B) -> both_masks<A, B>;

/// Pairs that either of two masks shows.
template <class A, class B>
struct either_masks {
  A a;
  B b;

  SEQMIX_HOST_DEVICE constexpr bool operator()(const score_context& at) const {
    return a(at) || b(at);
  }
  SEQMIX_HOST_DEVICE constexpr block_visibility classify(const mask_block& block) const {
    const block_visibility x = detail::ask_of_block(a, block);
    const block_visibility y = detail::ask_of_block(b, block);
    if (x == block_visibility::full || y == block_visibility::full) {
      return block_visibility::full;
    }
    return x == y ? x : block_visibility::partial;
  }
};
template <class A, class B>
either_masks(A, B) -> either_masks<A, B>;

SEQMIX_END_NAMESPACE
