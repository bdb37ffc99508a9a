// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/cache_rows.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <string>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Pages of a pool that sequences take, share and give back.
template <class Arch>
class page_places {
 public:
  static constexpr const char* name = "paged_kv_cache";

  page_places(std::int64_t batch, std::int64_t pages, std::int64_t page_size)
      : pages_(pages),
        page_size_(page_size),
        table_(static_cast<std::size_t>(batch * pages)),
        held_(static_cast<std::size_t>(batch)),
        users_(static_cast<std::size_t>(pages)) {
    free_.reserve(static_cast<std::size_t>(pages));
    for (std::int64_t page = pages; page-- > 0;) {
      free_.push_back(static_cast<std::int32_t>(page));  // page 0 is taken first
    }
  }

  std::int64_t pages() const noexcept { return pages_; }
  std::int64_t page_size() const noexcept { return page_size_; }
  std::int64_t free_pages() const noexcept { return static_cast<std::int64_t>(free_.size()); }
  tensor_view<const std::int32_t, 2> table() const noexcept {
    return {table_.data(), index_list<2>(held_.size(), pages_)};
  }

  std::int64_t row(std::int64_t sequence, std::int64_t j) const noexcept {
    return entry(sequence, j / page_size_) * page_size_ + j % page_size_;
  }

  /// `range(b)` gives the keys [from, to) that sequence b is about to write.
  template <class Range>
  void check_room(contract<Arch>& c, const char* argument, std::int64_t first,
                  std::int64_t sequences, const Range& range) const {
    std::int64_t missing = 0;
    for (std::int64_t b = first; b < first + sequences; ++b) {
      const auto [from, to] = range(b);
      for (std::int64_t i = from / page_size_; i < pages_for(from, to); ++i) {
        missing += i >= held(b) || shared(b, i) ? 1 : 0;
      }
    }
    if (missing > free_pages()) {
      c.fail(argument,
             "rows for at most " + std::to_string(free_pages()) + " pages, what the pool has free",
             "rows for " + std::to_string(missing));
    }
  }

  /// Takes the pages that keys [from, to) lack, and replaces shared ones by copies.
  template <class Move>
  void own(std::int64_t sequence, std::int64_t from, std::int64_t to, const Move& move) noexcept {
    for (std::int64_t i = from / page_size_; i < pages_for(from, to); ++i) {
      if (i >= held(sequence)) {
        entry(sequence, i) = take();
        ++held_[static_cast<std::size_t>(sequence)];
      } else if (shared(sequence, i)) {
        const std::int32_t old = entry(sequence, i);
        entry(sequence, i) = take();
        move(old * page_size_, entry(sequence, i) * page_size_, page_size_);
        give_back(old);
      }
    }
  }

  /// Gives back the pages past the first `length` keys.
  void release(std::int64_t sequence, std::int64_t length) noexcept {
    const std::int64_t needed = pages_for(0, length);
    std::int64_t& n = held_[static_cast<std::size_t>(sequence)];
    for (; n > needed; --n) {
      give_back(entry(sequence, n - 1));
    }
  }

  /// Gives a sequence without pages the pages of another one's first `length` keys.
  void share(std::int64_t from, std::int64_t to, std::int64_t length) noexcept {
    for (std::int64_t i = 0; i < pages_for(0, length); ++i) {
      entry(to, i) = entry(from, i);
      ++users(entry(from, i));
      ++held_[static_cast<std::size_t>(to)];
    }
  }

 private:
  /// The entry behind that of the last of keys [from, to); 0 without any.
  std::int64_t pages_for(std::int64_t from, std::int64_t to) const noexcept {
    return from < to ? (to - 1) / page_size_ + 1 : 0;
  }
  std::int64_t held(std::int64_t sequence) const noexcept {
    return held_[static_cast<std::size_t>(sequence)];
  }
  const std::int32_t& entry(std::int64_t sequence, std::int64_t i) const noexcept {
    return table_[static_cast<std::size_t>(sequence * pages_ + i)];
  }
  std::int32_t& entry(std::int64_t sequence, std::int64_t i) noexcept {
    return table_[static_cast<std::size_t>(sequence * pages_ + i)];
  }
  std::int32_t& users(std::int32_t page) noexcept { return users_[static_cast<std::size_t>(page)]; }
  bool shared(std::int64_t sequence, std::int64_t i) const noexcept {
    return users_[static_cast<std::size_t>(entry(sequence, i))] > 1;
  }
  std::int32_t take() noexcept {
    const std::int32_t page = free_.back();
    free_.pop_back();
    users(page) = 1;
    return page;
  }
  void give_back(std::int32_t page) noexcept {
    if (--users(page) == 0) {
      free_.push_back(page);  // within what the constructor reserved
    }
  }

  std::int64_t pages_, page_size_;
  std::vector<std::int32_t> table_;  // [batch, pages]
  std::vector<std::int64_t> held_;   // [batch] entries in use
  std::vector<std::int32_t> users_;  // [pages] sequences that hold it
  std::vector<std::int32_t> free_;
};

}  // namespace detail

/// An owning paged key-value cache: `batch` sequences, of any lengths, in one pool of `pages` pages
/// of `page_size` keys, any size from 1. All memory is allocated at the start: the pool, and a
/// block table of `batch * pages` int32, since one sequence may come to hold every page.
///
///     paged_kv_cache<bf16> cache(B, pages, 64, HK, D, V);
///     cache.append(k, v);                            // k [B, n, HK, D], v [B, n, HK, V]
///     cache.append(2, k2, v2);                       // k2 [1, n, HK, D]: sequence 2 alone
///     cache.fork(2, 3);                              // sequence 3 goes on from there, too
///     softmax_attention(q, cache.view(), o, {.causal = true});
///
/// Sequences take a page when they reach it and give it back when they are truncated. What is
/// written never shows in another sequence: a page that others share is copied first. A call that
/// the free pages do not suffice for is an error with nothing changed; it counts a copy for each
/// sequence that writes to a shared page, though the last one to do so may need none.
///
/// A view reads the cache's own memory, lengths and table included: it sees what is appended,
/// truncated or forked later, and must not outlive the cache. Copying copies the pool.
template <class TK, class TV = TK, class Arch = simd::default_arch>
class paged_kv_cache : public detail::row_cache<detail::page_places<Arch>, TK, TV, Arch> {
  using base = detail::row_cache<detail::page_places<Arch>, TK, TV, Arch>;

 public:
  paged_kv_cache(std::int64_t batch, std::int64_t pages, std::int64_t page_size,
                 std::int64_t kv_heads, std::int64_t key_dim, std::int64_t value_dim)
      : paged_kv_cache(checked({batch, pages, page_size, kv_heads, key_dim, value_dim})) {}

  std::int64_t pages() const noexcept { return this->places_.pages(); }
  std::int64_t page_size() const noexcept { return this->places_.page_size(); }
  std::int64_t free_pages() const noexcept { return this->places_.free_pages(); }

  /// Makes the empty sequence `to` a continuation of `from`: they share all pages, and the last,
  /// if it is not full, is copied by whichever of them appends first.
  void fork(std::int64_t from, std::int64_t to) {
    detail::contract<Arch> c{detail::page_places<Arch>::name};
    base::check_sequence(c, "from", from, this->batch());
    base::check_sequence(c, "to", to, this->batch());
    if (c.holds()) {
      c.require(this->length(to) == 0, "to", "an empty sequence: truncate it first",
                this->length(to));
    }
    if (base::passes(c)) {
      this->places_.share(from, to, this->length(from));
      this->length_of(to) = this->length(from);
    }
  }

  kv_view<TK, TV> view() const noexcept {
    return {this->keys_.view(pages(), page_size()),
            this->values_.view(pages(), page_size()),
            {.lengths = this->lengths(), .block_table = this->places_.table()}};
  }

 private:
  struct sizes {
    std::int64_t batch, pages, page_size, kv_heads, key_dim, value_dim;
  };
  static sizes checked(sizes n) {
    detail::check_cache_sizes<Arch>(detail::page_places<Arch>::name, {{"batch", &n.batch},
                                                                      {"pages", &n.pages},
                                                                      {"page_size", &n.page_size},
                                                                      {"kv_heads", &n.kv_heads},
                                                                      {"key_dim", &n.key_dim},
                                                                      {"value_dim", &n.value_dim}});
    detail::contract<Arch> c{detail::page_places<Arch>::name};
    c.in_range("pages", n.pages, 0, std::numeric_limits<std::int32_t>::max());
    c.require(n.page_size != 0 || n.pages == 0, "page_size", "at least 1", n.page_size);
    if (!base::passes(c)) {
      n.pages = 0;
    }
    n.page_size = std::max<std::int64_t>(n.page_size, 1);
    return n;
  }
  explicit paged_kv_cache(const sizes& n)
      : base({n.batch, n.pages, n.page_size}, n.batch, n.pages * n.page_size, n.kv_heads, n.key_dim,
             n.value_dim) {}
};

SEQMIX_END_NAMESPACE
