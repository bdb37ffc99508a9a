// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <seqmix/common/feature_map.hpp>
#include <seqmix/core/round_up.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/math.hpp>

// The features of one row at a time, in the compute type. Rows are whole registers long, with zeros
// behind their last element.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A row of `n` elements in whole registers.
template <class C, class Arch>
constexpr std::int64_t padded(std::int64_t n) noexcept {
  return round_up(n, simd::lanes<C, Arch>);
}

/// Elements of scratch that `feature_row` needs for a row of `n`.
template <class C, class Arch>
constexpr std::int64_t feature_scratch(const any_feature_map& f, std::int64_t n) noexcept {
  const std::int64_t inner = f.map == feature_map::kernel_hash ? f.weight.extents[1]
                             : is_hedgehog(f.map)              ? feature_count(f, n) / 2
                                                               : n;
  return padded<C, Arch>(2 * n) + padded<C, Arch>(inner);
}

template <class C, class Arch>
struct feature_row {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  const any_feature_map& f;
  std::int64_t head;
  const C* x;  // [n]
  std::int64_t n;
  C* scratch;
  C* out;  // [width]
  std::int64_t width;

  /// Of the token at `position`. NaN stays NaN.
  void make(feature_role role, std::int64_t position) const noexcept {
    const std::int64_t count = feature_count(f, n);
    switch (f.map) {
      case feature_map::softmax:
        copy(x, n, out, C(1));
        softmax(out, n);
        break;
      case feature_map::dpfp:
      case feature_map::dpfp_published:
        dpfp();
        break;
      case feature_map::hedgehog_exponential:
      case feature_map::hedgehog_softmax:
      case feature_map::hedgehog_softmaxes:
        hedgehog(count / 2);
        break;
      case feature_map::taylor2:
      case feature_map::taylor2_symmetric:
        taylor2(f.map == feature_map::taylor2_symmetric);
        break;
      case feature_map::random:
        random(count, role);
        break;
      case feature_map::kernel_hash:
        kernel_hash(count - 1);
        break;
      case feature_map::cosformer:
        cosformer(position);
        break;
      default:
        elementwise();
        break;
    }
    for (std::int64_t i = count; i < width; ++i) {
      out[i] = C(0);
    }
  }

 private:
  static V positive(V v) noexcept { return xsimd::select(v < V(C(0)), V(C(0)), v); }
  static C positive(C v) noexcept { return v < C(0) ? C(0) : v; }
  static V sign(V v) noexcept {
    return xsimd::select(v < V(C(0)), V(C(-1)), xsimd::select(v >= V(C(0)), V(C(1)), v));
  }
  static void copy(const C* from, std::int64_t count, C* to, C factor) noexcept {
    for (std::int64_t i = 0; i < count; ++i) {
      to[i] = from[i] * factor;
    }
  }
  /// row = g(row), over whole registers.
  template <class G>
  SEQMIX_ALWAYS_INLINE static void over(C* row, std::int64_t count, G&& g) noexcept {
    for (std::int64_t i = 0; i < count; i += w) {
      g(V::load_aligned(row + i)).store_aligned(row + i);
    }
  }

  void elementwise() const noexcept {
    const V zero(C(0));
    const V one(C(1));
    for (std::int64_t i = 0; i < width; i += w) {
      const V v = V::load_aligned(x + i);
      V y = v;
      switch (f.map) {
        case feature_map::elu_plus_1:
          y = xsimd::select(v < zero, simd::exp<C, Arch>(zero - xsimd::abs(v)), v + one);
          break;
        case feature_map::relu:
          y = positive(v);
          break;
        case feature_map::relu_squared:
          y = positive(v) * positive(v);
          break;
        case feature_map::silu:
          y = v * simd::logistic<C, Arch>(v);
          break;
        case feature_map::sigmoid:
          y = simd::logistic<C, Arch>(v);
          break;
        case feature_map::exponential:
          y = simd::exp<C, Arch>(v);
          break;
        case feature_map::sign:
          y = sign(v);
          break;
        default:
          break;
      }
      y.store_aligned(out + i);
    }
  }

  /// The largest of `count` elements, in a row whose padding may be written.
  static C largest(C* row, std::int64_t count) noexcept {
    const std::int64_t all = padded<C, Arch>(count);
    for (std::int64_t i = count; i < all; ++i) {
      row[i] = -std::numeric_limits<C>::infinity();
    }
    V m = V::load_aligned(row);
    for (std::int64_t i = w; i < all; i += w) {
      m = xsimd::max(m, V::load_aligned(row + i));
    }
    return simd::max_lanes<C, Arch>(m);
  }

  /// In place. A NaN makes all of the row NaN: it is in the sum.
  static void softmax(C* row, std::int64_t count) noexcept {
    const V m(largest(row, count));
    const std::int64_t all = padded<C, Arch>(count);
    V sums(C(0));
    over(row, all, [&](V v) __attribute__((always_inline)) {
      const V e = simd::exp<C, Arch>(v - m);
      sums = sums + e;
      return e;
    });
    const V sum(simd::sum_lanes<C, Arch>(sums));
    over(row, all, [&](V v) __attribute__((always_inline)) { return v / sum; });
  }

  void dpfp() const noexcept {
    const bool published = f.map == feature_map::dpfp_published;
    for (std::int64_t i = 0; i < n; ++i) {
      scratch[i] = positive(x[i]);
      scratch[n + i] = published ? -positive(x[i]) : positive(-x[i]);
    }
    C* to = out;
    for (std::int64_t j = 1; j <= f.number; ++j) {
      const std::int64_t roll = j % (2 * n);
      for (std::int64_t i = 0; i < 2 * n; ++i) {
        *to++ = scratch[i] * scratch[i < roll ? i - roll + 2 * n : i - roll];
      }
    }
  }

  void hedgehog(std::int64_t half) const noexcept {
    C* z = scratch;
    if (f.weight.given()) {
      product(x, n, z, half);
    } else {
      copy(x, n, z, C(1));
    }
    for (std::int64_t i = 0; f.bias.given() && i < half; ++i) {
      z[i] += real_at<C>(f.bias, head_of(f.bias), i);
    }
    if (f.map == feature_map::hedgehog_softmaxes) {
      copy(z, half, out, C(-1));  // at the row's begin, where registers are whole; then moved
      softmax(out, half);
      copy(out, half, out + half, C(1));
      softmax(z, half);
      copy(z, half, out, C(1));
      return;
    }
    const C factor = f.map == feature_map::hedgehog_softmax ? C(2) : C(1);
    copy(z, half, out, factor);
    copy(z, half, out + half, -factor);
    if (f.map == feature_map::hedgehog_softmax) {
      softmax(out, 2 * half);
    } else {
      pad(2 * half);
      over(out, width, [](V v) { return simd::exp<C, Arch>(v); });
    }
  }

  void taylor2(bool symmetric) const noexcept {
    const double K = static_cast<double>(n);
    out[0] = C(1);
    copy(x, n, out + 1, static_cast<C>(std::pow(K, -0.25)));
    const auto once = static_cast<C>(1 / std::sqrt(2 * K));
    const auto twice = static_cast<C>(1 / std::sqrt(K));
    C* to = out + 1 + n;
    for (std::int64_t i = 0; i < n; ++i) {
      if (symmetric) {
        *to++ = x[i] * x[i] * once;
      }
      const std::int64_t from = symmetric ? i + 1 : 0;
      copy(x + from, n - from, to, x[i] * (symmetric ? twice : once));
      to += n - from;
    }
  }

  void random(std::int64_t count, feature_role role) const noexcept {
    copy(x, n, scratch, static_cast<C>(std::pow(static_cast<double>(n), -0.25)));
    C squares(0);
    for (std::int64_t i = 0; i < n; ++i) {
      squares += scratch[i] * scratch[i];
    }
    product(scratch, n, out, count);
    const bool with_maximum = role == feature_role::query && f.query_maximum;
    const C shift = with_maximum                ? largest(out, count)
                    : role == feature_role::key ? squares / 2 + static_cast<C>(f.constant)
                                                : squares / 2;
    pad(count);
    const V factor(static_cast<C>(1 / std::sqrt(static_cast<double>(count))));
    over(out, width, [&](V v) __attribute__((always_inline)) {
      return factor * simd::exp<C, Arch>(v - V(shift));
    });
  }

  void kernel_hash(std::int64_t hashes) const noexcept {
    C* unit = scratch;
    double squares = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    copy(x, n, unit, squares == 0 ? C(0) : static_cast<C>(1 / std::sqrt(squares)));
    for (std::int64_t i = n; i < padded<C, Arch>(n); ++i) {
      unit[i] = C(0);
    }
    C* kappa = scratch + padded<C, Arch>(2 * n);
    const std::int64_t anchors = f.anchors.extents[1];
    const auto& at = f.anchors.strides;
    const std::int64_t first = f.anchors.extents[0] == 1 ? 0 : head * at[0];
    with_real_elements(f.anchors.data, f.anchors.type, [&](const auto* data) {
      for (std::int64_t p = 0; p < anchors; ++p) {
        V sums(C(0));
        for (std::int64_t i = 0; i < n; i += w) {
          const V d = V::load_aligned(unit + i) -
                      simd::load_strided<C, Arch>(data + first + p * at[1], at[2], i, n);
          sums = simd::fma(d, d, sums);
        }
        const auto distance = static_cast<double>(simd::sum_lanes<C, Arch>(sums));
        const double mean = f.bias.given() ? real_at<double>(f.bias, head_of(f.bias), p) : 0;
        kappa[p] = static_cast<C>(std::exp(-distance / (2 * f.constant)) - mean);
      }
    });
    product(kappa, anchors, out, hashes);
    over(out, padded<C, Arch>(hashes), [](V v) { return sign(v); });
    out[hashes] = static_cast<C>(std::sqrt(static_cast<double>(hashes + 1)));
  }

  void cosformer(std::int64_t position) const noexcept {
    const double angle = 1.5707963267948966 * static_cast<double>(f.first + position) /
                         static_cast<double>(f.number);
    const auto cosine = static_cast<C>(std::cos(angle));
    const auto sine = static_cast<C>(std::sin(angle));
    for (std::int64_t i = 0; i < n; ++i) {
      const C v = positive(x[i]);
      out[i] = v * cosine;
      out[n + i] = v * sine;
    }
  }

  void pad(std::int64_t count) const noexcept {
    for (std::int64_t i = count; i < width; ++i) {
      out[i] = C(0);
    }
  }

  template <class View>
  std::int64_t head_of(const View& v) const noexcept {
    return v.extents[0] == 1 ? 0 : head;
  }

  /// to = row W of this head, `columns` of them, in whole registers.
  void product(const C* row, std::int64_t count, C* to, std::int64_t columns) const noexcept {
    const auto& at = f.weight.strides;
    const std::int64_t first = head_of(f.weight) * at[0];
    with_real_elements(f.weight.data, f.weight.type, [&](const auto* data) {
      for (std::int64_t j = 0; j < columns; j += w) {
        V sum(C(0));
        for (std::int64_t i = 0; i < count; ++i) {
          sum = simd::fma(V(row[i]),
                          simd::load_strided<C, Arch>(data + first + i * at[1], at[2], j, columns),
                          sum);
        }
        sum.store_aligned(to + j);
      }
    });
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
