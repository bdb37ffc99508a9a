// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/cache_rows.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <string>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Sequence after sequence, each with room for as many rows.
template <class Arch>
struct contiguous_places {
  static constexpr const char* name = "kv_cache";

  std::int64_t capacity;

  std::int64_t row(std::int64_t sequence, std::int64_t j) const noexcept {
    return sequence * capacity + j;
  }
  /// `range(b)` gives the keys [from, to) that sequence b is about to write.
  template <class Range>
  void check_room(contract<Arch>& c, const char* argument, std::int64_t first,
                  std::int64_t sequences, const Range& range) const {
    for (std::int64_t b = first; c.holds() && b < first + sequences; ++b) {
      const auto [from, to] = range(b);
      if (to > capacity) {
        c.fail(argument,
               "at most " + std::to_string(capacity - from) + " rows, what sequence " +
                   std::to_string(b) + " has room for",
               std::to_string(to - from));
      }
    }
  }
  template <class Move>
  void own(std::int64_t, std::int64_t, std::int64_t, const Move&) const noexcept {}
  void release(std::int64_t, std::int64_t) const noexcept {}
};

}  // namespace detail

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
class kv_cache : public detail::row_cache<detail::contiguous_places<Arch>, TK, TV, Arch> {
  using base = detail::row_cache<detail::contiguous_places<Arch>, TK, TV, Arch>;

 public:
  kv_cache(std::int64_t batch, std::int64_t capacity, std::int64_t kv_heads, std::int64_t key_dim,
           std::int64_t value_dim)
      : kv_cache(checked({batch, capacity, kv_heads, key_dim, value_dim})) {}

  std::int64_t capacity() const noexcept { return this->places_.capacity; }

  kv_view<TK, TV> view() const noexcept {
    return {this->keys_.view(this->batch(), capacity()),
            this->values_.view(this->batch(), capacity()),
            {.lengths = this->lengths()}};
  }

 private:
  struct sizes {
    std::int64_t batch, capacity, kv_heads, key_dim, value_dim;
  };
  static sizes checked(sizes n) {
    detail::check_cache_sizes<Arch>(detail::contiguous_places<Arch>::name,
                                    {{"batch", &n.batch},
                                     {"capacity", &n.capacity},
                                     {"kv_heads", &n.kv_heads},
                                     {"key_dim", &n.key_dim},
                                     {"value_dim", &n.value_dim}});
    return n;
  }
  explicit kv_cache(const sizes& n)
      : base({n.capacity}, n.batch, n.batch * n.capacity, n.kv_heads, n.key_dim, n.value_dim) {}
};

SEQMIX_END_NAMESPACE
