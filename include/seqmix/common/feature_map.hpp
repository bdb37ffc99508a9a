// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/any_view.hpp>

// Feature maps: what stands for a query or a key of K elements in linear attention, F features
// whose products are the kernel in place of e^(q.k).

SEQMIX_BEGIN_NAMESPACE

/// Which map. Those from `dpfp` on have parameters: a struct of their name below sets them.
enum class feature_map {
  identity,
  elu_plus_1,            ///< elu(x) + 1
  relu,                  ///< max(x, 0)
  relu_squared,          ///< max(x, 0)^2
  silu,                  ///< x / (1 + e^-x)
  sigmoid,               ///< 1 / (1 + e^-x)
  exponential,           ///< e^x
  softmax,               ///< e^x / sum e^x, over the row
  sign,                  ///< -1 below 0, else 1
  dpfp,                  ///< products of rolled [relu(x), relu(-x)]
  dpfp_published,        ///< of rolled [relu(x), -relu(x)]
  hedgehog_exponential,  ///< [e^z, e^-z], z = x W + bias
  hedgehog_softmax,      ///< one softmax over all of [2 z, -2 z]
  hedgehog_softmaxes,    ///< [softmax(z), softmax(-z)]
  taylor2,               ///< [1, x / K^(1/4), x x^T / sqrt(2 K)]
  taylor2_symmetric,     ///< the same with each pair once
  random,                ///< e^(w.x' - x'.x'/2) / sqrt(m), x' = x / K^(1/4)
  kernel_hash,           ///< signs of hashed kernels, and one constant
  cosformer,             ///< [relu(x) cos a, relu(x) sin a] with an angle of the position
  unspecified,           ///< none: refused
};

namespace detail {

SEQMIX_ALWAYS_INLINE constexpr bool is_hedgehog(feature_map m) noexcept {
  return m == feature_map::hedgehog_exponential || m == feature_map::hedgehog_softmax ||
         m == feature_map::hedgehog_softmaxes;
}

}  // namespace detail

/// Whose row is mapped, where it makes a difference.
enum class feature_role { query, key };

/// 2 K nu features: x' = [relu(x), relu(-x)] times itself rolled by j, for each j from 1 to nu.
/// With `published`, x' = [relu(x), -relu(x)], as in the paper's code. Schlag et al., "Linear
/// Transformers Are Secretly Fast Weight Programmers", 2021.
struct dpfp_features {
  std::int64_t nu = 1;
  bool published = false;
};

/// 2 D features of z = x W + bias. Three maps go by the name and are not the same, so there is no
/// default: `map` is one of the three hedgehog_... enumerators. Zhang et al., "The Hedgehog & the
/// Porcupine: Expressive Linear Attentions with Softmax Mimicry", 2024.
struct hedgehog_features {
  feature_map map = feature_map::unspecified;
  any_view<3> weight{};  ///< W [H or 1, K, D]; the identity when absent
  any_view<2> bias{};    ///< [H or 1, D]; zeros when absent
};

/// The exact second-order Taylor series of e^z at z = q.k / sqrt(K): the features' product is
/// 1 + z + z^2 / 2. 1 + K + K^2 of them, or with `symmetric` 1 + K + K (K + 1) / 2 of the same
/// product. Arora et al., "Simple linear attention language models balance the recall-throughput
/// tradeoff", 2024.
struct taylor2_features {
  bool symmetric = false;
};

/// m positive features whose product is e^(q.k / sqrt(K)) on average over drawn projections;
/// `fill_orthogonal_projection` draws one. Two stabilisers: `query_maximum` takes the largest
/// exponent out of each query's, which only a denominator may hide, and `key_shift` one number out
/// of all keys'. Choromanski et al., "Rethinking Attention with Performers", 2021.
struct random_features {
  any_view<3> projection{};  ///< W [H or 1, K, m]
  bool query_maximum = false;
  double key_shift = 0;
};

/// b signs h(x) = sign((kappa(x) - mean) A) and the constant sqrt(b + 1), so that the features'
/// product is h.h' + b + 1, above 0. kappa_p = e^(-|x' - anchor_p|^2 / (2 sigma)) with x' = x /
/// |x|. Liu et al., "EcoFormer: Energy-Saving Attention with Linear Complexity", 2022.
struct kernel_hash_features {
  any_view<3> anchors{};  ///< [H or 1, P, K]
  any_view<3> hashes{};   ///< A [H or 1, P, b]
  any_view<2> mean{};     ///< [H or 1, P]; zeros when absent
  double sigma = 1;
};

/// 2 K features of the token at position i, with the angle a = pi i / (2 length): their product is
/// relu(q).relu(k) cos(pi (i - j) / (2 length)). No position may reach `length`. Qin et al.,
/// "cosFormer: Rethinking Softmax in Attention", 2022.
struct cosformer_features {
  std::int64_t length = 0;  ///< must be given
  std::int64_t first = 0;   ///< the position of each sequence's first token
};

/// Any feature map with its parameters, from an enumerator or one of the structs above.
struct any_feature_map {
  feature_map map = feature_map::identity;
  std::int64_t number = 1;  ///< nu, or the length
  std::int64_t first = 0;   ///< position
  bool query_maximum = false;
  double constant = 0;   ///< the key shift, or sigma
  any_view<3> weight{};  ///< W or A
  any_view<2> bias{};    ///< or the mean
  any_view<3> anchors{};

  constexpr any_feature_map() = default;
  constexpr any_feature_map(feature_map m) noexcept : map(m) {}
  constexpr any_feature_map(const dpfp_features& f) noexcept
      : map(f.published ? feature_map::dpfp_published : feature_map::dpfp), number(f.nu) {}
  constexpr any_feature_map(const hedgehog_features& f) noexcept
      : map(detail::is_hedgehog(f.map) ? f.map : feature_map::unspecified),
        weight(f.weight),
        bias(f.bias) {}
  constexpr any_feature_map(const taylor2_features& f) noexcept
      : map(f.symmetric ? feature_map::taylor2_symmetric : feature_map::taylor2) {}
  constexpr any_feature_map(const random_features& f) noexcept
      : map(feature_map::random),
        query_maximum(f.query_maximum),
        constant(f.key_shift),
        weight(f.projection) {}
  constexpr any_feature_map(const kernel_hash_features& f) noexcept
      : map(feature_map::kernel_hash),
        constant(f.sigma),
        weight(f.hashes),
        bias(f.mean),
        anchors(f.anchors) {}
  constexpr any_feature_map(const cosformer_features& f) noexcept
      : map(feature_map::cosformer), number(f.length), first(f.first) {}
};

/// How many features a map makes of K elements.
SEQMIX_ALWAYS_INLINE constexpr std::int64_t feature_count(const any_feature_map& f,
                                                          std::int64_t K) noexcept {
  switch (f.map) {
    case feature_map::dpfp:
    case feature_map::dpfp_published:
      return 2 * K * f.number;
    case feature_map::hedgehog_exponential:
    case feature_map::hedgehog_softmax:
    case feature_map::hedgehog_softmaxes:
      return 2 * (f.weight.given() ? f.weight.extents[2] : K);
    case feature_map::taylor2:
      return 1 + K + K * K;
    case feature_map::taylor2_symmetric:
      return 1 + K + K * (K + 1) / 2;
    case feature_map::random:
      return f.weight.extents[2];
    case feature_map::kernel_hash:
      return f.weight.extents[2] + 1;
    case feature_map::cosformer:
      return 2 * K;
    default:
      return K;
  }
}

SEQMIX_END_NAMESPACE
