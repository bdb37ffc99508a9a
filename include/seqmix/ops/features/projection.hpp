// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <seqmix/core/convert.hpp>
#include <seqmix/core/view_of.hpp>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Two independent normal variates. Not the standard library's distribution: that draws other
/// numbers in each library.
template <class Generator>
std::pair<double, double> normal_pair(Generator& generator) {
  const double u = 1 - std::generate_canonical<double, 53>(generator);
  const double angle = 6.283185307179586 * std::generate_canonical<double, 53>(generator);
  const double radius = std::sqrt(-2 * std::log(u));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// K orthogonal vectors of K elements, one behind the other, as long as K normal variates are.
template <class Generator>
std::vector<double> orthogonal_block(std::size_t K, Generator& generator) {
  std::vector<double> rows(K * K);
  const auto draw = [&](double* to) {
    for (std::size_t i = 0; i < K; i += 2) {
      const auto [first, second] = normal_pair(generator);
      to[i] = first;
      if (i + 1 < K) {
        to[i + 1] = second;
      }
    }
  };
  const auto product = [K](const double* a, const double* b) {
    double sum = 0;
    for (std::size_t i = 0; i < K; ++i) {
      sum += a[i] * b[i];
    }
    return sum;
  };
  std::vector<double> other(K);
  for (std::size_t r = 0; r < K; ++r) {
    double* row = rows.data() + r * K;
    draw(row);
    for (int pass = 0; pass < 2; ++pass) {  // once leaves what the first subtraction rounded
      for (std::size_t s = 0; s < r; ++s) {
        const double along = product(row, rows.data() + s * K);
        for (std::size_t i = 0; i < K; ++i) {
          row[i] -= along * rows[s * K + i];
        }
      }
      const double length = std::sqrt(product(row, row));
      for (std::size_t i = 0; i < K; ++i) {
        row[i] /= length;
      }
    }
  }
  for (std::size_t r = 0; r < K; ++r) {
    draw(other.data());
    const double length = std::sqrt(product(other.data(), other.data()));
    for (std::size_t i = 0; i < K; ++i) {
      rows[r * K + i] *= length;
    }
  }
  return rows;
}

}  // namespace detail

/// Draws a projection for `random_features`: W [H, K, m], for each head its own. Of each head's m
/// columns every K in turn are orthogonal, and each is as long as K independent normal variates
/// are, so that a column alone is a normal vector. `generator` is a uniform random bit generator of
/// the standard library's kind. Takes K^2 + K doubles of memory while it runs, and O(H m K^2) time.
template <mutable_view_of<3> W, class Generator>
void fill_orthogonal_projection(const W& projection, Generator& generator) {
  const auto w = as_tensor_view(projection);
  const std::int64_t K = w.extent(1);
  for (std::int64_t h = 0; K > 0 && h < w.extent(0); ++h) {
    std::vector<double> block;
    for (std::int64_t j = 0; j < w.extent(2); ++j) {
      if (j % K == 0) {
        block = detail::orthogonal_block(static_cast<std::size_t>(K), generator);
      }
      for (std::int64_t i = 0; i < K; ++i) {
        w(h, i, j) = detail::narrow<typename W::element_type>(
            block[static_cast<std::size_t>(j % K * K + i)]);
      }
    }
  }
}

SEQMIX_END_NAMESPACE
