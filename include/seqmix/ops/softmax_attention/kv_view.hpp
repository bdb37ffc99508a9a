// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

/// How the rows of a cache are to be read.
struct kv_layout {
  any_view<1> lengths{};      ///< [B] keys in use, int32 or int64; all of S when not given
  any_view<2> block_table{};  ///< [B, max_pages] pages of a pool, int32 or int64; needs lengths
  any_view<3> k_scale{};      ///< [B, S, HK] or [pages, page, HK], f32: what int8 keys need
  any_view<3> v_scale{};      ///< the same for int8 values
};

/// A non-owning key-value cache, contiguous or paged.
///
///     contiguous   k [B, S, HK, D], v [B, S, HK, V]
///     paged        k [pages, page, HK, D], v [pages, page, HK, V]: a pool with a `block_table`
///
/// Sequence b uses its first `lengths[b]` keys. With a table, key j of sequence b is row j % page
/// of pool page block_table[b, j / page]. Rows past the length, and table entries past the last
/// page in use, are never read and may hold anything. Sequences may share pages.
///
/// Of int8, an element is the integer times the scale of its token and head, as `quantise_rows`
/// writes them. A stride of 0 makes scales that tokens share, or heads.
template <class TK, class TV>
struct kv_view {
  tensor_view<const TK, 4> k;
  tensor_view<const TV, 4> v;
  kv_layout layout;

  template <view_of<4> K, view_of<4> V>
  constexpr kv_view(const K& keys, const V& values, kv_layout how = {}) noexcept
      : k(as_tensor_view(keys)), v(as_tensor_view(values)), layout(how) {}
};

template <view_of<4> K, view_of<4> V>
kv_view(const K&, const V&) -> kv_view<std::remove_const_t<typename K::element_type>,
                                       std::remove_const_t<typename V::element_type>>;
template <view_of<4> K, view_of<4> V>
kv_view(const K&, const V&, kv_layout) -> kv_view<std::remove_const_t<typename K::element_type>,
                                                  std::remove_const_t<typename V::element_type>>;

SEQMIX_END_NAMESPACE
