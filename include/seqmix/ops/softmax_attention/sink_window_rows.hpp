// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/softmax_attention/cache_rows.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Sizes of a `sink_window_cache`.
struct sink_window_sizes {
  std::int64_t batch, kv_heads, key_dim, value_dim;
  std::int64_t sinks, window, rollback, slack;

  constexpr std::int64_t rows() const noexcept { return sinks + window + rollback + slack; }
};

/// Where the tokens of a `sink_window_cache` lie: the sinks, and behind them, in order, tokens
/// first ... length - 1. In order, since attention reads one run of rows fastest, and a ring would
/// be two; the price is that the window moves to the front when the rows are full, which is about
/// one row copied for each new token with slack = window + rollback.
template <class TK, class TV, class Arch>
class sink_window_rows {
 public:
  explicit sink_window_rows(const sink_window_sizes& sizes)
      : n(sizes),
        keys_(n.batch * n.rows(), n.kv_heads, n.key_dim),
        values_(n.batch * n.rows(), n.kv_heads, n.value_dim),
        first_(n.sinks) {}

  const sink_window_sizes n;

  std::int64_t length() const noexcept { return length_; }
  std::size_t bytes() const noexcept { return keys_.bytes() + values_.bytes(); }
  /// Whether the next token sees all tokens.
  bool next_sees_all() const noexcept { return length_ < n.sinks + n.window; }
  /// The shortest length beyond the sinks whose window is still there.
  std::int64_t least_length() const noexcept {
    return first_ == n.sinks ? 0 : first_ + n.window - 1;
  }
  /// The row of a token that is in memory, or the next one's.
  std::int64_t row_of(std::int64_t token) const noexcept {
    return token < n.sinks ? token : n.sinks + token - first_;
  }
  tensor_view<TK, 4> keys(std::int64_t row, std::int64_t count) noexcept {
    return keys_.view(n.batch, n.rows()).slice(1, row, count);
  }
  tensor_view<TV, 4> values(std::int64_t row, std::int64_t count) noexcept {
    return values_.view(n.batch, n.rows()).slice(1, row, count);
  }

  /// Makes room for new tokens and says for how many, at most `wanted`. Either all of them see
  /// every token before them, or none does.
  std::int64_t make_room(std::int64_t wanted) noexcept {
    const std::int64_t enough = std::min(wanted, (n.slack + 1) / 2);
    if (n.rows() - row_of(length_) < enough) {
      const std::int64_t first = std::max(first_, length_ - (n.window - 1 + n.rollback));
      for (std::int64_t b = 0; b < n.batch; ++b) {
        const std::int64_t from = b * n.rows() + row_of(first);
        keys_.move(from, b * n.rows() + n.sinks, length_ - first);
        values_.move(from, b * n.rows() + n.sinks, length_ - first);
      }
      first_ = first;
    }
    const std::int64_t room = std::min(wanted, n.rows() - row_of(length_));
    return next_sees_all() ? std::min(room, n.sinks + n.window - length_) : room;
  }

  /// The keys of tokens that are about to be added.
  void store_keys(const tensor_view<const TK, 4>& k) noexcept { store(k, keys_); }
  /// Adds tokens whose keys are in their rows.
  void add(const tensor_view<const TV, 4>& v) noexcept {
    store(v, values_);
    length_ += v.extent(1);
  }

  void truncate(std::int64_t length) noexcept {
    length_ = std::min(length_, length);
    if (length_ <= n.sinks) {
      first_ = n.sinks;
    }
  }

 private:
  template <class T>
  void store(const tensor_view<const T, 4>& from, cache_memory<T, Arch>& to) const noexcept {
    for (std::int64_t b = 0; b < n.batch; ++b) {
      for (std::int64_t t = 0; t < from.extent(1); ++t) {
        to.store(from, b, t, b * n.rows() + row_of(length_ + t));
      }
    }
  }

  cache_memory<TK, Arch> keys_;
  cache_memory<TV, Arch> values_;
  std::int64_t length_ = 0;
  std::int64_t first_;  // the token behind the sinks
};

/// Scratch of one call; with a null base only the size is computed.
template <class C, class Arch>
struct sink_window_scratch {
  tensor_view<C, 4> turned;             // queries [B, n, H, D]
  tensor_view<C, 4> near, far;          // results [B, n, H, V]
  tensor_view<C, 3> near_lse, far_lse;  // [B, H, n]
  std::size_t bytes;

  sink_window_scratch(std::byte* base, index_list<4> q, std::int64_t value_dim, bool two_parts)
      : sink_window_scratch(scratch_layout(base), q, value_dim, two_parts) {}

 private:
  sink_window_scratch(scratch_layout layout, index_list<4> q, std::int64_t value_dim,
                      bool two_parts) {
    const std::int64_t rows = q[0] * q[1] * q[2];
    const std::int64_t parted = two_parts ? rows : 0;
    turned = {layout.take<C>(rows * q[3]), q};
    near = {layout.take<C>(parted * value_dim), index_list<4>(q[0], q[1], q[2], value_dim)};
    far = {layout.take<C>(parted * value_dim), near.extents()};
    near_lse = {layout.take<C>(parted), index_list<3>(q[0], q[2], q[1])};
    far_lse = {layout.take<C>(parted), near_lse.extents()};
    bytes = layout.bytes() + scratch_alignment;
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
