// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/common/feature_map.hpp>
#include <seqmix/core/convert.hpp>
#include <vector>

// The feature maps from their definitions, in double.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Element [head, i, j] of a map's parameter; one head may serve all.
template <class Tag>
double naive_parameter(const any_view<3>& v, std::int64_t head, std::size_t i, std::size_t j) {
  const std::int64_t at = (v.extents[0] == 1 ? 0 : head * v.strides[0]) +
                          static_cast<std::int64_t>(i) * v.strides[1] +
                          static_cast<std::int64_t>(j) * v.strides[2];
  double value = 0;
  with_real_elements(v.data, v.type, [&](const auto* data) { value = widen<double>(data[at]); });
  return value;
}
template <class Tag>
double naive_parameter(const any_view<2>& v, std::int64_t head, std::size_t i) {
  return v.given() ? real_at<double>(v, v.extents[0] == 1 ? 0 : head, std::int64_t(i)) : 0;
}

template <class Tag>
std::vector<double> naive_softmax(std::vector<double> x) {
  double largest = x[0];
  for (const double e : x) {
    largest = e > largest ? e : largest;
  }
  double sum = 0;
  for (double& e : x) {
    e = std::exp(e - largest);
    sum += e;
  }
  for (double& e : x) {
    e /= sum;
  }
  return x;
}

/// x W of a head.
template <class Tag>
std::vector<double> naive_projected(const any_view<3>& W, std::int64_t head,
                                    const std::vector<double>& x) {
  std::vector<double> y(static_cast<std::size_t>(W.extents[2]), 0.0);
  for (std::size_t j = 0; j < y.size(); ++j) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      y[j] += x[i] * naive_parameter<Tag>(W, head, i, j);
    }
  }
  return y;
}

/// A map that takes each element for itself.
template <class Tag>
double naive_feature(feature_map map, double x) {
  switch (map) {
    case feature_map::elu_plus_1:
      return x < 0 ? std::exp(x) : x + 1;
    case feature_map::relu:
      return x < 0 ? 0 : x;
    case feature_map::relu_squared:
      return x < 0 ? 0 : x * x;
    case feature_map::silu:
      return x / (1 + std::exp(-x));
    case feature_map::sigmoid:
      return 1 / (1 + std::exp(-x));
    case feature_map::exponential:
      return std::exp(x);
    case feature_map::sign:
      return std::isnan(x) ? x : x < 0 ? -1 : 1;
    default:
      return x;
  }
}

template <class Tag>
std::vector<double> naive_hedgehog(const any_feature_map& f, std::int64_t head,
                                   const std::vector<double>& x) {
  std::vector<double> z = f.weight.given() ? naive_projected<Tag>(f.weight, head, x) : x;
  for (std::size_t i = 0; i < z.size(); ++i) {
    z[i] += naive_parameter<Tag>(f.bias, head, i);
  }
  const std::size_t D = z.size();
  std::vector<double> minus, both;
  for (const double e : z) {
    minus.push_back(-e);
  }
  both = z;
  both.insert(both.end(), minus.begin(), minus.end());
  if (f.map == feature_map::hedgehog_exponential) {
    for (double& e : both) {
      e = std::exp(e);
    }
  } else if (f.map == feature_map::hedgehog_softmax) {
    for (double& e : both) {
      e *= 2;
    }
    both = naive_softmax<Tag>(both);
  } else {
    z = naive_softmax<Tag>(z);
    minus = naive_softmax<Tag>(minus);
    for (std::size_t i = 0; i < D; ++i) {
      both[i] = z[i];
      both[D + i] = minus[i];
    }
  }
  return both;
}

/// The features of a row x of `head`, of the token at `position`.
template <class Tag>
std::vector<double> naive_feature_row(const any_feature_map& f, feature_role role,
                                      std::int64_t head, std::int64_t position,
                                      const std::vector<double>& x) {
  const std::size_t n = x.size();
  const auto K = static_cast<double>(n);
  std::vector<double> y;
  const auto relu = [](double e) { return e < 0 ? 0 : e; };
  if (f.map == feature_map::softmax) {
    return naive_softmax<Tag>(x);
  }
  if (is_hedgehog(f.map)) {
    return naive_hedgehog<Tag>(f, head, x);
  }
  if (f.map == feature_map::dpfp || f.map == feature_map::dpfp_published) {
    std::vector<double> both;
    for (const double e : x) {
      both.push_back(relu(e));
    }
    for (const double e : x) {
      both.push_back(f.map == feature_map::dpfp ? relu(-e) : -relu(e));
    }
    for (std::size_t j = 1; j <= static_cast<std::size_t>(f.number); ++j) {
      for (std::size_t i = 0; i < 2 * n; ++i) {
        y.push_back(both[i] * both[(i + 2 * n * j - j) % (2 * n)]);
      }
    }
    return y;
  }
  if (f.map == feature_map::taylor2 || f.map == feature_map::taylor2_symmetric) {
    y.push_back(1);
    for (const double e : x) {
      y.push_back(e / std::pow(K, 0.25));
    }
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t from = f.map == feature_map::taylor2 ? 0 : i;
      for (std::size_t j = from; j < n; ++j) {
        const double twice = f.map == feature_map::taylor2 || i == j ? 1 : std::sqrt(2.0);
        y.push_back(twice * x[i] * x[j] / (std::sqrt(2.0) * std::sqrt(K)));
      }
    }
    return y;
  }
  if (f.map == feature_map::random) {
    std::vector<double> scaled;
    double squares = 0;
    for (const double e : x) {
      scaled.push_back(e / std::pow(K, 0.25));
      squares += scaled.back() * scaled.back();
    }
    y = naive_projected<Tag>(f.weight, head, scaled);
    double shift = squares / 2 + (role == feature_role::key ? f.constant : 0);
    if (role == feature_role::query && f.query_maximum) {
      shift = y[0];
      for (const double e : y) {
        shift = e > shift ? e : shift;
      }
    }
    for (double& e : y) {
      e = std::exp(e - shift) / std::sqrt(static_cast<double>(y.size()));
    }
    return y;
  }
  if (f.map == feature_map::kernel_hash) {
    double squares = 0;
    for (const double e : x) {
      squares += e * e;
    }
    std::vector<double> kappa;
    for (std::size_t p = 0; p < static_cast<std::size_t>(f.anchors.extents[1]); ++p) {
      double distance = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double unit = squares == 0 ? 0 : x[i] / std::sqrt(squares);
        const double d = unit - naive_parameter<Tag>(f.anchors, head, p, i);
        distance += d * d;
      }
      kappa.push_back(std::exp(-distance / (2 * f.constant)) -
                      naive_parameter<Tag>(f.bias, head, p));
    }
    y = naive_projected<Tag>(f.weight, head, kappa);
    for (double& e : y) {
      e = naive_feature<Tag>(feature_map::sign, e);
    }
    y.push_back(std::sqrt(static_cast<double>(y.size()) + 1));
    return y;
  }
  if (f.map == feature_map::cosformer) {
    const double angle = 3.141592653589793 * static_cast<double>(f.first + position) /
                         (2 * static_cast<double>(f.number));
    for (const double e : x) {
      y.push_back(relu(e) * std::cos(angle));
    }
    for (const double e : x) {
      y.push_back(relu(e) * std::sin(angle));
    }
    return y;
  }
  for (const double e : x) {
    y.push_back(naive_feature<Tag>(f.map, e));
  }
  return y;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
