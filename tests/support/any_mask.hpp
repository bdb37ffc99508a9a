// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/score.hpp>

namespace seqmix_test {

/// Any mask functor that answers for blocks, as one type: its kernels are compiled once. The mask
/// must outlive it.
struct any_mask {
  const void* mask;
  bool (*sees)(const void*, const seqmix::score_context&);
  seqmix::block_visibility (*says)(const void*, const seqmix::mask_block&);

  template <seqmix::block_attention_mask M>
  explicit any_mask(const M& m) noexcept
      : mask(&m),
        sees([](const void* x, const seqmix::score_context& at) {
          return static_cast<bool>((*static_cast<const M*>(x))(at));
        }),
        says([](const void* x, const seqmix::mask_block& b) {
          return static_cast<const M*>(x)->classify(b);
        }) {}

  bool operator()(const seqmix::score_context& at) const { return sees(mask, at); }
  seqmix::block_visibility classify(const seqmix::mask_block& b) const { return says(mask, b); }
};

}  // namespace seqmix_test
