// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <seqmix/common/feature_map.hpp>
#include <vector>

#include "tensor.hpp"

namespace seqmix_test {

/// Feature maps with parameters drawn from a seed.
enum class named_map {
  elu_plus_1,
  relu,
  relu_squared,
  silu,
  sigmoid,
  exponential,
  softmax,
  sign,
  dpfp,
  dpfp_published,
  hedgehog_exponential,
  hedgehog_softmax,
  hedgehog_softmaxes,
  hedgehog_identity,  ///< without a weight
  taylor2,
  taylor2_symmetric,
  random,
  kernel_hash,
  cosformer,
};
inline constexpr named_map every_named_map[] = {named_map::elu_plus_1,
                                                named_map::relu,
                                                named_map::relu_squared,
                                                named_map::silu,
                                                named_map::sigmoid,
                                                named_map::exponential,
                                                named_map::softmax,
                                                named_map::sign,
                                                named_map::dpfp,
                                                named_map::dpfp_published,
                                                named_map::hedgehog_exponential,
                                                named_map::hedgehog_softmax,
                                                named_map::hedgehog_softmaxes,
                                                named_map::hedgehog_identity,
                                                named_map::taylor2,
                                                named_map::taylor2_symmetric,
                                                named_map::random,
                                                named_map::kernel_hash,
                                                named_map::cosformer};

class feature_parameters {
 public:
  static constexpr std::int64_t hash_bits = 16;
  static constexpr std::int64_t anchor_count = 20;

  /// For K elements; each head has its own, or one serves all, by the seed.
  feature_parameters(std::int64_t K, std::int64_t H, std::uint64_t seed)
      : K_(K),
        heads_(seed % 2 == 0 ? 1 : H),
        weight_(scalar_type::f32, {heads_, K, K + 3},
                seed % 3 == 0 ? layout::reversed : layout::padded),
        bias_(scalar_type::f64, {heads_, K + 3}, layout::strided),
        projection_(scalar_type::f32, {heads_, K, 2 * K + 5}),
        anchors_(scalar_type::f32, {heads_, anchor_count, K}, layout::padded),
        hashes_(scalar_type::f32, {heads_, anchor_count, hash_bits},
                seed % 3 == 0 ? layout::strided : layout::dense),
        mean_(scalar_type::f32, {heads_, anchor_count}) {
    weight_.fill(seed + 1, 1 / std::sqrt(static_cast<double>(K)));
    bias_.fill(seed + 2, 0.3);
    projection_.fill(seed + 3);
    anchors_.fill(seed + 4, 1 / std::sqrt(static_cast<double>(K)));
    hashes_.fill(seed + 5);
    mean_.for_each(
        [&](const tensor<2>::index& i) { mean_.set(i, 0.3 + 0.01 * static_cast<double>(i[1])); });
  }

  seqmix::hedgehog_features hedgehog(seqmix::feature_map which) const {
    return {
        .map = which, .weight = weight_.view<const float>(), .bias = bias_.view<const double>()};
  }
  seqmix::random_features random() const { return {.projection = projection_.view<const float>()}; }
  seqmix::kernel_hash_features kernel_hash() const {
    return {.anchors = anchors_.view<const float>(),
            .hashes = hashes_.view<const float>(),
            .mean = mean_.view<const float>(),
            .sigma = 0.8};
  }

  seqmix::any_feature_map map(named_map which) const {
    using seqmix::feature_map;
    switch (which) {
      case named_map::dpfp:
        return seqmix::dpfp_features{.nu = 3};
      case named_map::dpfp_published:
        return seqmix::dpfp_features{.nu = 2, .published = true};
      case named_map::hedgehog_exponential:
        return hedgehog(feature_map::hedgehog_exponential);
      case named_map::hedgehog_softmax:
        return hedgehog(feature_map::hedgehog_softmax);
      case named_map::hedgehog_softmaxes:
        return hedgehog(feature_map::hedgehog_softmaxes);
      case named_map::hedgehog_identity:
        return feature_map::hedgehog_softmaxes;
      case named_map::taylor2:
        return seqmix::taylor2_features{};
      case named_map::taylor2_symmetric:
        return seqmix::taylor2_features{.symmetric = true};
      case named_map::random:
        return random();
      case named_map::kernel_hash:
        return kernel_hash();
      case named_map::cosformer:
        return seqmix::cosformer_features{.length = 100, .first = 7};
      default:
        return static_cast<feature_map>(static_cast<int>(feature_map::elu_plus_1) +
                                        static_cast<int>(which));
    }
  }

  /// Whether products of features are never below 0, so that a denominator is safe.
  static bool positive(named_map which) {
    return which != named_map::silu && which != named_map::sign &&
           which != named_map::dpfp_published;
  }

  /// What the hash of a row takes the sign of.
  std::vector<double> hashed(const std::vector<double>& row, std::int64_t head) const {
    const std::int64_t h = heads_ == 1 ? 0 : head;
    double squares = 0;
    for (const double e : row) {
      squares += e * e;
    }
    std::vector<double> sums(static_cast<std::size_t>(hash_bits), 0.0);
    for (std::int64_t p = 0; p < anchor_count; ++p) {
      double distance = 0;
      for (std::size_t d = 0; d < row.size(); ++d) {
        const double e = row[d] / std::sqrt(squares) - anchors_[{h, p, std::int64_t(d)}];
        distance += e * e;
      }
      const double kappa = std::exp(-distance / 1.6) - mean_[{h, p}];
      for (std::int64_t j = 0; j < hash_bits; ++j) {
        sums[static_cast<std::size_t>(j)] += kappa * hashes_[{h, p, j}];
      }
    }
    return sums;
  }

  /// Turns every row of x whose hash has a sum near zero into a multiple of one whose has none.
  void away_from_zero(tensor<4>& x) const {
    std::vector<std::vector<double>> good(static_cast<std::size_t>(x.extent(2)));
    for (const bool mend : {false, true}) {
      x.for_each([&](const tensor<4>::index& i) {
        if (i[3] != 0) {
          return;
        }
        auto& model = good[static_cast<std::size_t>(i[2])];
        std::vector<double> row;
        for (std::int64_t d = 0; d < K_; ++d) {
          row.push_back(x[{i[0], i[1], i[2], d}]);
        }
        double least = 1;
        for (const double e : hashed(row, i[2])) {
          least = std::min(least, std::fabs(e));
        }
        if (least > 1e-3) {
          model = model.empty() ? row : model;
        } else if (mend) {
          for (std::int64_t d = 0; d < K_; ++d) {
            x.set({i[0], i[1], i[2], d}, 2 * model.at(static_cast<std::size_t>(d)));
          }
        }
      });
    }
  }

 private:
  std::int64_t K_, heads_;
  tensor<3> weight_;
  tensor<2> bias_;
  tensor<3> projection_, anchors_, hashes_;
  tensor<2> mean_;
};

}  // namespace seqmix_test
