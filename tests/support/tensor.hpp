// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <seqmix/core/any_view.hpp>
#include <span>
#include <vector>

namespace seqmix_test {

using seqmix::scalar_type;

/// How a tensor lies in memory. `head_first` swaps the two axes before the last, as does
/// `[B, H, T, D]` for a `[B, T, H, D]` tensor.
enum class layout {
  dense,
  padded,          // gaps after every axis, unit stride on the last
  strided,         // gaps, and stride 3 on the last axis
  head_first,      // permuted
  reversed,        // negative strides
  misaligned,      // dense, one element past the alignment
  broadcast,       // zero strides on the first and the second last axis: for inputs
  broadcast_time,  // zero stride on the second axis: for inputs
  shared,          // zero strides as in `broadcast`, and no gaps: for inputs
};

/// Whether entries of some axis are one and the same.
constexpr bool repeats(layout kind) noexcept {
  return kind == layout::broadcast || kind == layout::broadcast_time || kind == layout::shared;
}

constexpr const char* name(layout kind) noexcept {
  constexpr const char* names[] = {"dense",      "padded",         "strided",
                                   "head_first", "reversed",       "misaligned",
                                   "broadcast",  "broadcast_time", "shared"};
  return names[static_cast<int>(kind)];
}

constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Near enough to a normal variate: the sum of four uniform ones, variance 1.
constexpr double normal(std::uint64_t seed) noexcept {
  const std::uint64_t bits = mix(seed);
  double sum = -2;
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<double>((bits >> (16 * i)) & 0xffff) / 65536.0;
  }
  return sum * 1.7320508075688772;
}

/// What elements and gaps hold before an operator runs: a NaN that no arithmetic produces; for
/// integers a number that is out of every range.
constexpr std::uint64_t sentinel(scalar_type type) noexcept {
  switch (type) {
    case scalar_type::f64:
      return 0x7ff8dead0000beefu;
    case scalar_type::i64:
      return 0x7eadbeef7eadbeefu;
    case scalar_type::f32:
      return 0x7fc0deadu;
    case scalar_type::i32:
      return 0x7eadbeefu;
    case scalar_type::f16:
      return 0x7eadu;
    default:
      return 0x7fdeu;
  }
}

inline double load_element(const std::byte* p, scalar_type type) noexcept {
  const auto as = [&]<class T>(T x) {
    std::memcpy(&x, p, sizeof(x));
    return x;
  };
  switch (type) {
    case scalar_type::f32:
      return as(float{});
    case scalar_type::f64:
      return as(double{});
    case scalar_type::f16:
      return static_cast<float>(as(seqmix::f16{}));
    case scalar_type::bf16:
      return static_cast<float>(as(seqmix::bf16{}));
    case scalar_type::i32:
      return as(std::int32_t{});
    default:
      return static_cast<double>(as(std::int64_t{}));
  }
}

inline void store_element(std::byte* p, scalar_type type, double value) noexcept {
  const auto put = [&](auto x) { std::memcpy(p, &x, sizeof(x)); };
  switch (type) {
    case scalar_type::f32:
      return put(static_cast<float>(value));
    case scalar_type::f64:
      return put(value);
    case scalar_type::f16:
      return put(seqmix::f16(static_cast<float>(value)));
    case scalar_type::bf16:
      return put(seqmix::bf16(static_cast<float>(value)));
    case scalar_type::i32:
      return put(static_cast<std::int32_t>(value));
    default:
      return put(static_cast<std::int64_t>(value));
  }
}

/// An owning tensor of any element type and layout, with guards around it. All that no element
/// occupies, and every element that was not set, holds the sentinel.
template <std::size_t Rank>
class tensor {
 public:
  using index = std::array<std::int64_t, Rank>;

  tensor() = default;
  tensor(scalar_type type, index extents, layout kind = layout::dense)
      : type_(type), extents_(extents) {
    std::array<std::size_t, Rank> order{};  // slowest axis first
    for (std::size_t a = 0; a < Rank; ++a) {
      order[a] = a;
    }
    if constexpr (Rank >= 3) {
      if (kind == layout::head_first) {
        std::swap(order[Rank - 3 + (Rank == 3)], order[Rank - 2 + (Rank == 3)]);
      }
    }
    const bool gaps = kind != layout::dense && kind != layout::misaligned &&
                      kind != layout::head_first && kind != layout::shared;
    const bool shares = kind == layout::broadcast || kind == layout::shared;
    std::int64_t step = kind == layout::strided ? 3 : 1;
    for (std::size_t i = Rank; i-- > 0;) {
      const std::size_t a = order[i];
      const bool repeated = (shares && (a == 0 || a + 2 == Rank)) ||
                            (kind == layout::broadcast_time && a == 1 && Rank > 1);
      strides_[a] = repeated ? 0 : step;
      step *= (repeated ? 1 : std::max<std::int64_t>(extents[a], 1)) + (gaps ? pad(a) : 0);
    }
    origin_ = guard + (kind == layout::misaligned ? 1 : 0);
    if (kind == layout::reversed) {
      for (std::size_t a = 0; a < Rank; ++a) {
        origin_ += strides_[a] * std::max<std::int64_t>(extents[a] - 1, 0);
        strides_[a] = -strides_[a];
      }
    }
    slots_ = step + 2 * guard + 1;
    memory_.resize((static_cast<std::size_t>(slots_) * width() + 63) / 64);
    clear();
  }

  scalar_type type() const noexcept { return type_; }
  const index& extents() const noexcept { return extents_; }
  const index& strides() const noexcept { return strides_; }
  std::int64_t extent(std::size_t a) const noexcept { return extents_[a]; }
  std::int64_t size() const noexcept {
    std::int64_t n = 1;
    for (const std::int64_t e : extents_) {
      n *= e;
    }
    return n;
  }

  void clear() noexcept {
    const std::uint64_t bits = sentinel(type_);
    for (std::int64_t i = 0; i < slots_; ++i) {
      std::memcpy(slot(i), &bits, width());
    }
  }

  double operator[](const index& at) const noexcept { return load_element(slot(at), type_); }
  void set(const index& at, double value) noexcept { store_element(slot(at), type_, value); }
  std::uint64_t bits(const index& at) const noexcept {
    std::uint64_t b = 0;
    std::memcpy(&b, slot(at), width());
    return b;
  }
  bool untouched(const index& at) const noexcept { return bits(at) == sentinel(type_); }
  bool untouched() const noexcept {
    bool all = gaps_untouched();
    for_each([&](const index& at) { all &= untouched(at); });
    return all;
  }

  /// Calls `f(index)` for all elements, last axis fastest.
  template <class F>
  void for_each(F&& f) const {
    if (size() == 0) {
      return;
    }
    index at{};
    while (true) {
      f(at);
      std::size_t a = Rank;
      while (a-- > 0) {
        if (++at[a] < extents_[a]) {
          break;
        }
        at[a] = 0;
        if (a == 0) {
          return;
        }
      }
    }
  }

  /// The same values for every layout, except that broadcast axes repeat theirs.
  void fill(std::uint64_t seed, double magnitude = 1) {
    for_each([&](const index& at) {
      std::uint64_t key = mix(seed);
      for (std::size_t a = 0; a < Rank; ++a) {
        const std::int64_t i = strides_[a] == 0 ? 0 : at[a];
        key = mix(key ^ static_cast<std::uint64_t>(i + 1));
      }
      set(at, magnitude * normal(key));
    });
  }

  std::vector<double> values() const {
    std::vector<double> all;
    all.reserve(static_cast<std::size_t>(size()));
    for_each([&](const index& at) { all.push_back((*this)[at]); });
    return all;
  }
  std::vector<std::uint64_t> all_bits() const {
    std::vector<std::uint64_t> all;
    all.reserve(static_cast<std::size_t>(size()));
    for_each([&](const index& at) { all.push_back(bits(at)); });
    return all;
  }

  /// Whether everything between and around the elements still holds the sentinel.
  bool gaps_untouched() const {
    std::vector<bool> used(static_cast<std::size_t>(slots_));
    for_each([&](const index& at) { used[static_cast<std::size_t>(offset(at))] = true; });
    const std::uint64_t expected = sentinel(type_);
    for (std::int64_t i = 0; i < slots_; ++i) {
      if (!used[static_cast<std::size_t>(i)] && std::memcmp(slot(i), &expected, width()) != 0) {
        return false;
      }
    }
    return true;
  }

  /// All of the memory, guards and gaps included.
  std::span<std::byte> memory() noexcept {
    return {slot(0), static_cast<std::size_t>(slots_) * width()};
  }
  /// From now on views point into `copy`, memory of the same size on the device `where`. Everything
  /// else still reads and writes the tensor's own memory.
  void place_at(std::byte* copy, seqmix::device where) noexcept {
    copy_ = copy;
    where_ = where;
  }
  void take_back() noexcept { place_at(nullptr, {}); }
  seqmix::device where() const noexcept { return where_; }

  template <class T>
  seqmix::tensor_view<T, Rank> view() const {
    return {first_element<T>(), seqmix::index_list<Rank>(extents_),
            seqmix::index_list<Rank>(strides_), where_};
  }
  /// Without the first axis, which has extent 1.
  template <class T>
  seqmix::tensor_view<T, Rank - 1> packed_view() const {
    std::array<std::int64_t, Rank - 1> extents{};
    std::array<std::int64_t, Rank - 1> strides{};
    std::copy(extents_.begin() + 1, extents_.end(), extents.begin());
    std::copy(strides_.begin() + 1, strides_.end(), strides.begin());
    return {first_element<T>(), seqmix::index_list<Rank - 1>(extents),
            seqmix::index_list<Rank - 1>(strides), where_};
  }

 private:
  struct alignas(64) line {
    std::byte bytes[64];
  };
  static constexpr std::int64_t guard = 64;  // elements

  static std::int64_t pad(std::size_t axis) noexcept {
    return axis + 1 == Rank ? 3 : 1 + static_cast<std::int64_t>(axis % 2);
  }
  std::size_t width() const noexcept { return seqmix::size_of(type_); }
  template <class T>
  T* first_element() const noexcept {
    std::byte* first = copy_ == nullptr ? const_cast<std::byte*>(slot(origin_))
                                        : copy_ + static_cast<std::size_t>(origin_) * width();
    return reinterpret_cast<T*>(first);
  }
  std::int64_t offset(const index& at) const noexcept {
    std::int64_t o = origin_;
    for (std::size_t a = 0; a < Rank; ++a) {
      o += at[a] * strides_[a];
    }
    return o;
  }
  std::byte* slot(std::int64_t i) noexcept {
    return reinterpret_cast<std::byte*>(memory_.data()) + static_cast<std::size_t>(i) * width();
  }
  const std::byte* slot(std::int64_t i) const noexcept {
    return reinterpret_cast<const std::byte*>(memory_.data()) +
           static_cast<std::size_t>(i) * width();
  }
  std::byte* slot(const index& at) noexcept { return slot(offset(at)); }
  const std::byte* slot(const index& at) const noexcept { return slot(offset(at)); }

  scalar_type type_ = scalar_type::none;
  index extents_{};
  index strides_{};
  std::int64_t origin_ = 0;
  std::int64_t slots_ = 0;
  std::vector<line> memory_;
  std::byte* copy_ = nullptr;
  seqmix::device where_{};
};

/// A strided vector of int32 or int64.
inline tensor<1> index_tensor(const std::vector<std::int64_t>& values, bool wide,
                              layout kind = layout::dense) {
  tensor<1> t(wide ? scalar_type::i64 : scalar_type::i32,
              {static_cast<std::int64_t>(values.size())}, kind);
  for (std::size_t i = 0; i < values.size(); ++i) {
    t.set({static_cast<std::int64_t>(i)}, static_cast<double>(values[i]));
  }
  return t;
}

inline seqmix::any_view<1> index_view(const tensor<1>& t) {
  if (t.type() == scalar_type::i64) {
    return t.view<const std::int64_t>();
  }
  return t.view<const std::int32_t>();
}

/// A matrix of int32 or int64.
inline seqmix::any_view<2> index_view(const tensor<2>& t) {
  if (t.type() == scalar_type::i64) {
    return t.view<const std::int64_t>();
  }
  return t.view<const std::int32_t>();
}

/// A tensor of real numbers as an operator's option.
template <std::size_t Rank>
seqmix::any_view<Rank> real_view(const tensor<Rank>& t) {
  switch (t.type()) {
    case scalar_type::f64:
      return t.template view<const double>();
    case scalar_type::f16:
      return t.template view<const seqmix::f16>();
    case scalar_type::bf16:
      return t.template view<const seqmix::bf16>();
    default:
      return t.template view<const float>();
  }
}

/// A tensor of integers or real numbers.
inline seqmix::any_view<2> number_view(const tensor<2>& t) {
  const bool whole = t.type() == scalar_type::i64 || t.type() == scalar_type::i32;
  return whole ? index_view(t) : real_view(t);
}

/// Scratch memory full of NaN, with guards on both sides. `shift` moves it off its alignment.
class guarded_workspace {
 public:
  explicit guarded_workspace(std::size_t bytes, std::size_t shift = 0)
      : memory_(guard + shift + bytes + guard, guard_byte), begin_(guard + shift), bytes_(bytes) {
    std::fill_n(memory_.begin() + static_cast<std::ptrdiff_t>(begin_), bytes_, std::byte{0xff});
  }
  std::span<std::byte> span() noexcept { return {memory_.data() + begin_, bytes_}; }
  bool guards_untouched() const noexcept {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if ((i < begin_ || i >= begin_ + bytes_) && memory_[i] != guard_byte) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::byte guard_byte{0xa5};
  static constexpr std::size_t guard = 256;
  std::vector<std::byte> memory_;
  std::size_t begin_;
  std::size_t bytes_;
};

}  // namespace seqmix_test
