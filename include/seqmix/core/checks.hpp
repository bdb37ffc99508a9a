// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <seqmix/core/any_view.hpp>
#include <seqmix/core/error.hpp>
#include <seqmix/core/overlap.hpp>
#include <string>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <std::size_t Rank>
std::string shape_text(const std::array<std::int64_t, Rank>& extents) {
  std::string text = "[";
  for (std::size_t a = 0; a < Rank; ++a) {
    text += (a == 0 ? "" : ", ") + std::to_string(extents[a]);
  }
  return text + "]";
}

inline std::string device_text(device d) {
  return d.on_host() ? "host memory" : "memory of cuda:" + std::to_string(d.ordinal);
}

/// Collects the first violation of an operator's contract; later checks are then skipped. The
/// messages are built only when a check fails. `Tag` keeps units with different flags apart.
template <class Tag>
class contract {
 public:
  explicit contract(const char* operator_name) noexcept : operator_(operator_name) {}

  bool holds() const noexcept { return !first_.has_value(); }
  violation result() { return std::move(first_); }

  contract& require(bool condition, const char* argument, const char* expected,
                    const char* actual) {
    if (!condition) {
      fail(argument, expected, actual);
    }
    return *this;
  }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  contract& require(bool condition, const char* argument, const char* expected, Number actual) {
    if (!condition) {
      fail(argument, expected, std::to_string(actual));
    }
    return *this;
  }
  contract& equal(const char* argument, const char* what, std::int64_t expected,
                  std::int64_t actual) {
    if (expected != actual) {
      fail(argument, std::to_string(expected) + what, std::to_string(actual));
    }
    return *this;
  }

  /// Extents that are not negative, and data unless the tensor has no element.
  template <class Pointer, std::size_t Rank>
  contract& tensor(const char* argument, const erased_view<Pointer, Rank>& v) {
    for (const std::int64_t e : v.extents) {
      if (e < 0) {
        return fail(argument, "extents of at least 0", shape_text(v.extents));
      }
    }
    if (v.data == nullptr && v.size() != 0) {
      return fail(argument, "data for shape " + shape_text(v.extents), "a null pointer");
    }
    return *this;
  }

  /// The element type of a tensor that an operator computes with.
  contract& real(const char* argument, scalar_type type) {
    return require(!is_integral(type), argument, "element type f32, f64, f16 or bf16", name(type));
  }

  template <class Pointer, std::size_t Rank>
  contract& shape(const char* argument, const erased_view<Pointer, Rank>& v,
                  const std::array<std::int64_t, Rank>& expected, const char* letters) {
    if (v.extents != expected) {
      fail(argument, std::string(letters) + " = " + shape_text(expected), shape_text(v.extents));
    }
    return *this;
  }

  contract& in_range(const char* argument, std::int64_t value, std::int64_t least,
                     std::int64_t most) {
    if (value < least || value > most) {
      fail(argument, std::to_string(least) + " to " + std::to_string(most), std::to_string(value));
    }
    return *this;
  }

  /// An option that no implementation honours yet, or that does not combine with the call.
  contract& absent(const char* argument, bool given, const char* why = "not implemented yet") {
    if (given) {
      fail(argument, std::string("no value (") + why + ")", "a value");
    }
    return *this;
  }

  contract& same_device(const char* argument, device d, const char* other, device reference) {
    if (d.on_host() != reference.on_host() || (!d.on_host() && d.ordinal != reference.ordinal)) {
      fail(argument, device_text(reference) + ", as " + other, device_text(d));
    }
    return *this;
  }

  template <class P1, std::size_t R1, class P2, std::size_t R2>
  contract& no_overlap(const char* argument, const erased_view<P1, R1>& out, const char* other,
                       const erased_view<P2, R2>& in) {
    if (holds() && overlap(out, in)) {
      fail(argument, std::string("memory apart from ") + other + "'s", "overlapping memory");
    }
    return *this;
  }

  template <class Pointer, std::size_t Rank>
  contract& no_self_overlap(const char* argument, const erased_view<Pointer, Rank>& out) {
    if (holds() && overlaps_itself(out)) {
      fail(argument, "one address for each element", "elements that share memory");
    }
    return *this;
  }

  /// An index vector: int32 or int64, of at least `least` entries, on the host if `on_host`.
  contract& index_vector(const char* argument, const any_view<1>& v, std::int64_t least,
                         bool on_host) {
    tensor(argument, v);
    if (on_host && !v.memory.on_host()) {
      return fail(argument, "host memory, beside host tensors", device_text(v.memory));
    }
    if (v.extents[0] < least) {
      return fail(argument, "at least " + std::to_string(least) + " entries",
                  std::to_string(v.extents[0]));
    }
    return require(v.type == scalar_type::i32 || v.type == scalar_type::i64, argument,
                   "element type i32 or i64", name(v.type));
  }

  /// Offsets of packed sequences: from 0, never falling, within `total`, no step above `longest`
  /// when that is given. Contents on a device cannot be read here: they need `longest`.
  contract& offsets(const char* argument, const any_view<1>& v, std::int64_t total,
                    std::int64_t longest, bool on_host) {
    index_vector(argument, v, 1, on_host);
    if (!holds()) {
      return *this;
    }
    if (!v.memory.on_host()) {
      return require(longest > 0, argument, "a maximal length beside offsets on a device", "none");
    }
    std::int64_t previous = 0;
    for (std::int64_t i = 0; i < v.extents[0]; ++i) {
      const std::int64_t offset = index_at(v, i);
      if ((i == 0 && offset != 0) || offset < previous || offset > total ||
          (longest > 0 && offset - previous > longest)) {
        return fail(argument,
                    "offsets from 0 that never fall, end at or below " + std::to_string(total) +
                        (longest > 0 ? " and step by at most " + std::to_string(longest) : ""),
                    "entry " + std::to_string(i) + " = " + std::to_string(offset) + " after " +
                        std::to_string(previous));
      }
      previous = offset;
    }
    return *this;
  }

  /// One length per sequence, each from 0 to `capacity(sequence)`.
  template <class F>
  contract& lengths(const char* argument, const any_view<1>& v, std::int64_t sequences,
                    bool on_host, F capacity) {
    index_vector(argument, v, 0, on_host);
    equal(argument, " entries", sequences, v.extents[0]);
    for (std::int64_t i = 0; holds() && v.memory.on_host() && i < sequences; ++i) {
      const std::int64_t length = index_at(v, i);
      const std::int64_t most = capacity(i);
      if (length < 0 || length > most) {
        fail(argument, "lengths from 0 to " + std::to_string(most),
             "entry " + std::to_string(i) + " = " + std::to_string(length));
      }
    }
    return *this;
  }

  /// Entries of a pool of states, one for each sequence; -1 skips the sequence. `distinct`: for
  /// states that are written.
  contract& slots(const char* argument, const any_view<1>& v, std::int64_t sequences,
                  std::int64_t pool, bool distinct) {
    index_vector(argument, v, sequences, true);
    equal(argument, " entries", sequences, v.extents[0]);
    // Only entries that meet a mark of their remainder are compared with those before.
    constexpr std::int64_t marks = 4096;
    std::array<std::uint64_t, marks / 64> seen{};
    for (std::int64_t n = 0; holds() && n < sequences; ++n) {
      const std::int64_t slot = index_at(v, n);
      if (slot < -1 || slot >= pool) {
        return fail(argument, "-1, or entries of a pool of " + std::to_string(pool),
                    "entry " + std::to_string(n) + " = " + std::to_string(slot));
      }
      if (!distinct || slot < 0) {
        continue;
      }
      std::uint64_t& word = seen[static_cast<std::size_t>(slot % marks / 64)];
      const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
      for (std::int64_t m = 0; (word & bit) != 0 && holds() && m < n; ++m) {
        if (index_at(v, m) == slot) {
          fail(argument, "each entry of the pool at most once",
               "entries " + std::to_string(m) + " and " + std::to_string(n) + " = " +
                   std::to_string(slot));
        }
      }
      word |= bit;
    }
    return *this;
  }

  contract& fail(const char* argument, std::string expected, std::string actual) {
    if (holds()) {
      first_.emplace(operator_, argument, std::move(expected), std::move(actual));
    }
    return *this;
  }

 private:
  const char* operator_;
  violation first_{};
};

}  // namespace detail

SEQMIX_END_NAMESPACE
