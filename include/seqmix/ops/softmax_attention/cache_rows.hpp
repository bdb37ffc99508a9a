// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <seqmix/core/checks.hpp>
#include <seqmix/simd/arch.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class T>
concept cache_input =
    view_of<X, 4> && std::same_as<std::remove_const_t<typename X::element_type>, T>;

/// The sizes of an owning cache: none negative, else the first such one is reported and all are 0.
template <class Arch, std::size_t Count>
void check_cache_sizes(const char* cache,
                       const std::pair<const char*, std::int64_t*> (&sizes)[Count]) {
  contract<Arch> c{cache};
  for (const auto& [argument, size] : sizes) {
    c.require(*size >= 0, argument, "at least 0", *size);
  }
  if (const violation broken = c.result()) {
    for (const auto& [argument, size] : sizes) {
      *size = 0;
    }
    report(*broken);
  }
}

/// Keys and values of new tokens, against the sizes of a cache.
template <class Arch>
void check_new_rows(contract<Arch>& c, const any_view<4>& k, const any_view<4>& v,
                    std::int64_t sequences, std::int64_t kv_heads, std::int64_t key_dim,
                    std::int64_t value_dim) {
  const std::int64_t n = k.extent(1);
  const bool all = sequences != 1;
  c.tensor("k", k).tensor("v", v);
  c.shape("k", k, {sequences, n, kv_heads, key_dim}, all ? "[B, n, HK, D]" : "[1, n, HK, D]");
  c.shape("v", v, {sequences, n, kv_heads, value_dim}, all ? "[B, n, HK, V]" : "[1, n, HK, V]");
  c.require(k.memory.on_host() && v.memory.on_host(), "k, v", "host memory", "device memory");
}

/// Rows of memory for the keys, or the values, of one token each. `Arch` keeps units with different
/// flags apart, here and below.
template <class T, class Arch>
class cache_memory {
 public:
  cache_memory(std::int64_t rows, std::int64_t heads, std::int64_t dim)
      : heads_(heads), dim_(dim), elements_(static_cast<std::size_t>(rows * heads * dim)) {}

  std::int64_t heads() const noexcept { return heads_; }
  std::int64_t dim() const noexcept { return dim_; }
  std::size_t bytes() const noexcept { return elements_.size() * sizeof(T); }
  T* row(std::int64_t at) noexcept { return elements_.data() + at * heads_ * dim_; }

  void store(const tensor_view<const T, 4>& from, std::int64_t b, std::int64_t t,
             std::int64_t to) noexcept {
    T* out = row(to);
    for (std::int64_t h = 0; h < heads_; ++h) {
      for (std::int64_t d = 0; d < dim_; ++d) {
        *out++ = from(b, t, h, d);
      }
    }
  }
  /// Moves `count` rows, which may overlap their new place, downwards.
  void move(std::int64_t from, std::int64_t to, std::int64_t count = 1) noexcept {
    std::copy_n(row(from), count * heads_ * dim_, row(to));
  }

  tensor_view<T, 4> view(std::int64_t first_axis, std::int64_t second_axis) noexcept {
    return {elements_.data(), index_list<4>(first_axis, second_axis, heads_, dim_)};
  }
  tensor_view<const T, 4> view(std::int64_t first_axis, std::int64_t second_axis) const noexcept {
    return {elements_.data(), index_list<4>(first_axis, second_axis, heads_, dim_)};
  }

 private:
  std::int64_t heads_, dim_;
  std::vector<T> elements_;
};

/// What the owning caches have in common. `Places` says in which row of the memory key j of a
/// sequence lies, and finds rows for more.
template <class Places, class TK, class TV, class Arch>
class row_cache {
 public:
  std::int64_t batch() const noexcept { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t length(std::int64_t sequence) const noexcept {
    return lengths_[static_cast<std::size_t>(sequence)];
  }
  tensor_view<const std::int64_t, 1> lengths() const noexcept {
    return {lengths_.data(), index_list<1>(batch())};
  }
  /// Memory of keys and values, in use or not.
  std::size_t bytes() const noexcept { return keys_.bytes() + values_.bytes(); }

  /// Adds n rows to each sequence, k [B, n, HK, D] and v [B, n, HK, V]. Prompts of different
  /// lengths: append them padded, then truncate each sequence to its own. Errors: `seqmix::error`,
  /// with nothing appended to any.
  template <cache_input<TK> K, cache_input<TV> V>
  void append(const K& k, const V& v) {
    append_rows(0, batch(), as_tensor_view(k), as_tensor_view(v));
  }
  /// Adds n rows to one sequence, k [1, n, HK, D] and v [1, n, HK, V].
  template <cache_input<TK> K, cache_input<TV> V>
  void append(std::int64_t sequence, const K& k, const V& v) {
    contract<Arch> c{Places::name};
    check_sequence(c, "sequence", sequence, batch());
    if (passes(c)) {
      append_rows(sequence, 1, as_tensor_view(k), as_tensor_view(v));
    }
  }

  /// Forgets what lies past the first `most` keys of each sequence.
  void truncate(std::int64_t most) {
    contract<Arch> c{Places::name};
    c.require(most >= 0, "length", "at least 0", most);
    if (passes(c)) {
      for (std::int64_t b = 0; b < batch(); ++b) {
        cut(b, most);
      }
    }
  }
  /// The same for one sequence.
  void truncate(std::int64_t sequence, std::int64_t most) {
    contract<Arch> c{Places::name};
    check_sequence(c, "sequence", sequence, batch());
    c.require(most >= 0, "length", "at least 0", most);
    if (passes(c)) {
      cut(sequence, most);
    }
  }

  /// Of a sequence's keys from `first` on, keeps those that `rows` lists, counted from `first` and
  /// rising: key first + rows[i] becomes key first + i, and the others are forgotten. What remains
  /// of a tree of drafts once one path through it is accepted.
  void keep(std::int64_t sequence, std::int64_t first, std::span<const std::int64_t> rows) {
    contract<Arch> c{Places::name};
    check_sequence(c, "sequence", sequence, batch());
    if (c.holds()) {
      c.in_range("first", first, 0, length(sequence));
    }
    const std::int64_t tail = c.holds() ? length(sequence) - first : 0;
    for (std::size_t i = 0; c.holds() && i < rows.size(); ++i) {
      if (rows[i] < (i == 0 ? 0 : rows[i - 1] + 1) || rows[i] >= tail) {
        c.fail("rows", "rising numbers below " + std::to_string(tail),
               "entry " + std::to_string(i) + " = " + std::to_string(rows[i]));
      }
    }
    if (!passes(c)) {
      return;
    }
    std::int64_t same = 0;  // rows that stay where they are
    for (const std::int64_t row : rows) {
      same += row == same ? 1 : 0;
    }
    const auto kept = static_cast<std::int64_t>(rows.size());
    places_.check_room(c, "rows", sequence, 1,
                       [&](std::int64_t) { return std::pair(first + same, first + kept); });
    if (!passes(c)) {
      return;
    }
    own(sequence, first + same, first + kept);
    for (std::int64_t i = same; i < kept; ++i) {
      move(places_.row(sequence, first + rows[static_cast<std::size_t>(i)]),
           places_.row(sequence, first + i), 1);
    }
    cut(sequence, first + kept);
  }

 protected:
  row_cache(Places places, std::int64_t batch, std::int64_t rows, std::int64_t kv_heads,
            std::int64_t key_dim, std::int64_t value_dim)
      : places_(std::move(places)),
        keys_(rows, kv_heads, key_dim),
        values_(rows, kv_heads, value_dim),
        lengths_(static_cast<std::size_t>(batch)) {}

  static void check_sequence(contract<Arch>& c, const char* argument, std::int64_t sequence,
                             std::int64_t batch) {
    c.in_range(argument, sequence, 0, batch - 1);
  }
  /// Whether the contract holds; reports it when not.
  static bool passes(contract<Arch>& c) {
    const bool holds = c.holds();
    if (!holds) {
      report(*c.result());
    }
    return holds;
  }
  void move(std::int64_t from, std::int64_t to, std::int64_t count) noexcept {
    keys_.move(from, to, count);
    values_.move(from, to, count);
  }
  /// Makes rows for keys [from, to) of a sequence, this sequence's alone.
  void own(std::int64_t sequence, std::int64_t from, std::int64_t to) noexcept {
    places_.own(sequence, from, to,
                [&](std::int64_t old_row, std::int64_t new_row, std::int64_t count) {
                  move(old_row, new_row, count);
                });
  }
  std::int64_t& length_of(std::int64_t sequence) noexcept {
    return lengths_[static_cast<std::size_t>(sequence)];
  }

  Places places_;
  cache_memory<TK, Arch> keys_;
  cache_memory<TV, Arch> values_;

 private:
  void append_rows(std::int64_t first, std::int64_t sequences, const tensor_view<const TK, 4>& k,
                   const tensor_view<const TV, 4>& v) {
    contract<Arch> c{Places::name};
    check_new_rows(c, any_view<4>(k), any_view<4>(v), sequences, keys_.heads(), keys_.dim(),
                   values_.dim());
    const std::int64_t n = k.extent(1);
    if (c.holds()) {
      places_.check_room(c, "k", first, sequences,
                         [&](std::int64_t b) { return std::pair(length(b), length(b) + n); });
    }
    if (!passes(c)) {
      return;
    }
    for (std::int64_t i = 0; i < sequences; ++i) {
      const std::int64_t b = first + i;
      own(b, length(b), length(b) + n);
      for (std::int64_t t = 0; t < n; ++t) {
        const std::int64_t row = places_.row(b, length(b) + t);
        keys_.store(k, i, t, row);
        values_.store(v, i, t, row);
      }
      length_of(b) += n;
    }
  }

  void cut(std::int64_t sequence, std::int64_t most) noexcept {
    if (most < length(sequence)) {
      length_of(sequence) = most;
      places_.release(sequence, most);
    }
  }

  std::vector<std::int64_t> lengths_;
};

}  // namespace detail

SEQMIX_END_NAMESPACE
