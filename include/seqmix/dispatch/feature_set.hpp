// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace dispatch {

/// A set of an operator's features. A problem has the set that it requires, an implementation the
/// set that it supports; `Feature` is the operator's enum, at most 64 values from 0 on.
template <class Feature>
class feature_set {
 public:
  constexpr feature_set() = default;
  constexpr feature_set(std::initializer_list<Feature> features) noexcept {
    for (const Feature f : features) {
      add(f);
    }
  }

  constexpr void add(Feature f, bool condition = true) noexcept {
    bits_ |= static_cast<std::uint64_t>(condition) << static_cast<unsigned>(f);
  }
  constexpr bool contains(Feature f) const noexcept {
    return ((bits_ >> static_cast<unsigned>(f)) & 1u) != 0;
  }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr feature_set without(feature_set other) const noexcept {
    feature_set rest;
    rest.bits_ = bits_ & ~other.bits_;
    return rest;
  }
  /// The first feature of a set that is not empty.
  constexpr Feature first() const noexcept { return static_cast<Feature>(std::countr_zero(bits_)); }

 private:
  std::uint64_t bits_ = 0;
};

}  // namespace dispatch

SEQMIX_END_NAMESPACE
