// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <seqmix/core/convert.hpp>
#include <seqmix/core/tensor_view.hpp>
#include <string>
#include <utility>

namespace seqmix_bench {

/// A fixed sequence of numbers (splitmix64).
class random_source {
 public:
  explicit random_source(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// In [0, n).
  std::int64_t below(std::int64_t n) noexcept {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }
  /// Uniform, with mean 0 and variance 1.
  float value() noexcept {
    const auto mantissa = static_cast<std::uint32_t>(next() >> 41);
    return (std::bit_cast<float>(0x40000000u | mantissa) - 3.0f) * 1.7320508f;
  }

 private:
  std::uint64_t state_;
};

/// An owned array that starts on a cache line, filled with random numbers.
template <class T>
class random_array {
 public:
  random_array(std::int64_t count, std::uint64_t seed)
      : count_(count),
        data_(static_cast<T*>(::operator new(static_cast<std::size_t>(count) * sizeof(T),
                                             std::align_val_t{alignment}))) {
    random_source source(seed);
    for (std::int64_t i = 0; i < count; ++i) {
      data_.get()[i] = seqmix::detail::narrow<T>(source.value());
    }
  }

  T* data() const noexcept { return data_.get(); }
  std::int64_t size() const noexcept { return count_; }

  /// So that an element that an operator leaves out cannot pass for a result.
  void poison() const {
    for (std::int64_t i = 0; i < count_; ++i) {
      data_.get()[i] = seqmix::detail::narrow<T>(std::numeric_limits<float>::quiet_NaN());
    }
  }

  bool all_finite() const {
    for (std::int64_t i = 0; i < count_; ++i) {
      if (!std::isfinite(seqmix::detail::widen<double>(data_.get()[i]))) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::size_t alignment = 64;
  struct deleter {
    void operator()(T* p) const noexcept { ::operator delete(p, std::align_val_t{alignment}); }
  };
  std::int64_t count_;
  std::unique_ptr<T, deleter> data_;
};

/// The data of the row that runs now. Google Benchmark calls a row many times, and rows that
/// differ in their threads only share it.
inline std::pair<std::string, std::shared_ptr<void>>& held_data() {
  static std::pair<std::string, std::shared_ptr<void>> held;
  return held;
}

/// The data under `key`; of another key's data nothing stays.
template <class Data, class Make>
Data& hold(std::string key, Make make) {
  auto& [held_key, data] = held_data();
  if (held_key != key) {
    data.reset();
    data = make();
    held_key = std::move(key);
  }
  return *static_cast<Data*>(data.get());
}

/// How far a correct result may lie from the oracle's, relative to the largest element compared.
template <class T>
inline constexpr double tolerance = 5e-5;
template <>
inline constexpr double tolerance<double> = 1e-11;
template <>
inline constexpr double tolerance<seqmix::f16> = 1e-3;
template <>
inline constexpr double tolerance<seqmix::bf16> = 8e-3;

/// What is wrong with `actual`, or nothing. It may be off by `allowed` of the largest element.
template <class T>
std::string compare(const seqmix::tensor_view<T, 4>& actual,
                    const seqmix::tensor_view<T, 4>& expected, double allowed = tolerance<T>) {
  double scale = 0;
  double worst = 0;
  for (std::int64_t b = 0; b < actual.extent(0); ++b) {
    for (std::int64_t t = 0; t < actual.extent(1); ++t) {
      for (std::int64_t h = 0; h < actual.extent(2); ++h) {
        for (std::int64_t d = 0; d < actual.extent(3); ++d) {
          const double e = seqmix::detail::widen<double>(expected(b, t, h, d));
          const double a = seqmix::detail::widen<double>(actual(b, t, h, d));
          scale = std::fmax(scale, std::fabs(e));
          if (!(std::fabs(a - e) <= worst)) {  // a NaN stays the worst
            worst = std::fabs(a - e);
          }
        }
      }
    }
  }
  if (worst <= allowed * scale) {
    return {};
  }
  return "off by " + std::to_string(worst / scale) + " of the largest element";
}

template <class T>
inline constexpr const char* type_name = seqmix::name(seqmix::scalar_type_of<T>);

}  // namespace seqmix_bench
