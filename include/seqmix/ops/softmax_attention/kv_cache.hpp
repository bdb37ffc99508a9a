// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <seqmix/core/checks.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <seqmix/simd/arch.hpp>
#include <string>
#include <utility>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

/// An owning contiguous key-value cache for `batch` sequences of at most `capacity` keys each. All
/// memory is allocated at the start. Copying copies the keys and values.
///
///     kv_cache<bf16> cache(B, capacity, HK, D, V);
///     cache.append(k, v);                            // k [B, n, HK, D], v [B, n, HK, V]
///     softmax_attention(q, cache.view(), o, {.causal = true});
///
/// A view reads the cache's own memory, lengths included: it sees what is appended later, and must
/// not outlive the cache.
template <class TK, class TV = TK, class Arch = simd::default_arch>
class kv_cache {
 public:
  kv_cache(std::int64_t batch, std::int64_t capacity, std::int64_t kv_heads, std::int64_t key_dim,
           std::int64_t value_dim)
      : batch_(batch),
        capacity_(capacity),
        kv_heads_(kv_heads),
        key_dim_(key_dim),
        value_dim_(value_dim) {
    const auto check = [&](const char* argument, std::int64_t x) {
      if (x < 0) {
        fail(argument, "at least 0", std::to_string(x));
        batch_ = capacity_ = kv_heads_ = key_dim_ = value_dim_ = 0;
      }
    };
    check("batch", batch);
    check("capacity", capacity);
    check("kv_heads", kv_heads);
    check("key_dim", key_dim);
    check("value_dim", value_dim);
    const std::int64_t rows = batch_ * capacity_ * kv_heads_;
    keys_.resize(static_cast<std::size_t>(rows * key_dim_));
    values_.resize(static_cast<std::size_t>(rows * value_dim_));
    lengths_.resize(static_cast<std::size_t>(batch_));
  }

  std::int64_t batch() const noexcept { return batch_; }
  std::int64_t capacity() const noexcept { return capacity_; }
  std::int64_t length(std::int64_t sequence) const noexcept {
    return lengths_[static_cast<std::size_t>(sequence)];
  }

  /// Adds n rows to each sequence. Prompts of different lengths: append them padded, then truncate
  /// each sequence to its own.
  template <view_of<4> K, view_of<4> V>
    requires std::same_as<std::remove_const_t<typename K::element_type>, TK> &&
             std::same_as<std::remove_const_t<typename V::element_type>, TV>
  void append(const K& k, const V& v) {
    const tensor_view<const TK, 4> from_k = as_tensor_view(k);
    const tensor_view<const TV, 4> from_v = as_tensor_view(v);
    const any_view<4> any_k(from_k);
    const any_view<4> any_v(from_v);
    const std::int64_t n = any_k.extent(1);
    detail::contract<Arch> c{"kv_cache"};
    c.tensor("k", any_k).tensor("v", any_v);
    c.shape("k", any_k, {batch_, n, kv_heads_, key_dim_}, "[B, n, HK, D]");
    c.shape("v", any_v, {batch_, n, kv_heads_, value_dim_}, "[B, n, HK, V]");
    c.require(any_k.memory.on_host() && any_v.memory.on_host(), "k, v", "host memory",
              "device memory");
    for (std::int64_t b = 0; c.holds() && b < batch_; ++b) {
      if (n > capacity_ - length(b)) {
        c.fail("k",
               "at most " + std::to_string(capacity_ - length(b)) + " rows, what sequence " +
                   std::to_string(b) + " has room for",
               std::to_string(n));
      }
    }
    if (const detail::violation broken = c.result()) {
      detail::report(*broken);
      return;
    }
    for (std::int64_t b = 0; b < batch_; ++b) {
      copy(from_k, b, keys_, key_dim_);
      copy(from_v, b, values_, value_dim_);
      lengths_[static_cast<std::size_t>(b)] += n;
    }
  }

  /// Forgets what lies past the first `most` keys of each sequence.
  void truncate(std::int64_t most) {
    if (most < 0) {
      return fail("length", "at least 0", std::to_string(most));
    }
    for (std::int64_t& n : lengths_) {
      n = std::min(n, most);
    }
  }
  /// The same for one sequence.
  void truncate(std::int64_t sequence, std::int64_t most) {
    if (sequence < 0 || sequence >= batch_) {
      return fail("sequence", "0 to " + std::to_string(batch_ - 1), std::to_string(sequence));
    }
    if (most < 0) {
      return fail("length", "at least 0", std::to_string(most));
    }
    std::int64_t& n = lengths_[static_cast<std::size_t>(sequence)];
    n = std::min(n, most);
  }

  tensor_view<const std::int64_t, 1> lengths() const noexcept {
    return {lengths_.data(), index_list<1>(batch_)};
  }
  kv_view<TK, TV> view() const noexcept {
    return {tensor_view<const TK, 4>(keys_.data(), {batch_, capacity_, kv_heads_, key_dim_}),
            tensor_view<const TV, 4>(values_.data(), {batch_, capacity_, kv_heads_, value_dim_}),
            {.lengths = lengths()}};
  }

 private:
  static void fail(const char* argument, std::string expected, std::string actual) {
    detail::report({"kv_cache", argument, std::move(expected), std::move(actual)});
  }

  /// Sequence b's new rows, behind those that it has.
  template <class T>
  void copy(const tensor_view<const T, 4>& from, std::int64_t b, std::vector<T>& to,
            std::int64_t dim) const noexcept {
    T* out = to.data() + (b * capacity_ + length(b)) * kv_heads_ * dim;
    for (std::int64_t j = 0; j < from.extent(1); ++j) {
      for (std::int64_t h = 0; h < kv_heads_; ++h) {
        for (std::int64_t d = 0; d < dim; ++d) {
          *out++ = from(b, j, h, d);
        }
      }
    }
  }

  std::int64_t batch_, capacity_, kv_heads_, key_dim_, value_dim_;
  std::vector<TK> keys_;
  std::vector<TV> values_;
  std::vector<std::int64_t> lengths_;
};

SEQMIX_END_NAMESPACE
