// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/common/feature_map.hpp>
#include <seqmix/core/checks.hpp>
#include <string>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The most features of a row that are supported and tested.
inline constexpr std::int64_t most_features = 512;

/// A map of rows [.., tokens, H, K], under the name `argument`, beside tensors on `memory`.
template <class Tag>
void check_feature_map(contract<Tag>& c, const char* argument, const any_feature_map& f,
                       std::int64_t tokens, std::int64_t H, std::int64_t K, device memory) {
  const auto given = [&](const char* letters, const auto& x) {
    if (!x.given()) {
      c.fail(argument, letters, "none");
    }
  };
  // Extents `inner` of all heads, or of one that serves all.
  const auto shape = [&](const char* letters, const auto& x, auto inner) {
    if (!x.given()) {
      return;
    }
    c.tensor(argument, x).real(argument, x.type).same_device(argument, x.memory, "x", memory);
    auto expected = x.extents;
    expected[0] = x.extents[0] == 1 ? 1 : H;
    for (std::size_t a = 0; a < inner.size(); ++a) {
      expected[a + 1] = inner[a];
    }
    c.shape(argument, x, expected, letters);
  };
  using two = std::array<std::int64_t, 2>;
  using one = std::array<std::int64_t, 1>;
  c.require(f.map >= feature_map::identity && f.map < feature_map::unspecified, argument,
            "a map; of hedgehog one of hedgehog_exponential, hedgehog_softmax, hedgehog_softmaxes",
            static_cast<int>(f.map));
  if (!c.holds()) {
    return;
  }
  switch (f.map) {
    case feature_map::dpfp:
    case feature_map::dpfp_published:
      c.require(f.number >= 1 && f.number <= most_features, argument, "nu from 1 to 512", f.number);
      break;
    case feature_map::hedgehog_exponential:
    case feature_map::hedgehog_softmax:
    case feature_map::hedgehog_softmaxes:
      shape("weight [H or 1, K, D]", f.weight, two{K, f.weight.extents[2]});
      shape("bias [H or 1, D]", f.bias, one{feature_count(f, K) / 2});
      break;
    case feature_map::random:
      given("projection [H or 1, K, m]", f.weight);
      shape("projection [H or 1, K, m]", f.weight, two{K, f.weight.extents[2]});
      c.require(std::isfinite(f.constant), argument, "a finite key_shift", f.constant);
      break;
    case feature_map::kernel_hash:
      given("anchors [H or 1, P, K]", f.anchors);
      given("hashes [H or 1, P, b]", f.weight);
      shape("anchors [H or 1, P, K]", f.anchors, two{f.anchors.extents[1], K});
      shape("hashes [H or 1, P, b]", f.weight, two{f.anchors.extents[1], f.weight.extents[2]});
      shape("mean [H or 1, P]", f.bias, one{f.anchors.extents[1]});
      c.require(f.anchors.extents[1] >= 1 && f.anchors.extents[1] <= most_features, argument,
                "1 to 512 anchors", f.anchors.extents[1]);
      c.require(std::isfinite(f.constant) && f.constant > 0, argument,
                "sigma, a finite number above 0", f.constant);
      break;
    case feature_map::cosformer:
      c.require(f.first >= 0, argument, "first, a position of at least 0", f.first);
      if (f.number < 1 || tokens > f.number - f.first) {
        c.fail(argument,
               "a length of at least first + T = " + std::to_string(f.first) + " + " +
                   std::to_string(tokens),
               std::to_string(f.number));
      }
      break;
    default:
      break;
  }
  if (c.holds()) {
    const std::int64_t count = feature_count(f, K);
    c.require(count >= 1 && count <= most_features, argument, "1 to 512 features", count);
  }
}

/// That no output shares memory with what a map holds.
template <class Tag, class Pointer, std::size_t Rank>
void check_apart(contract<Tag>& c, const char* output, const erased_view<Pointer, Rank>& out,
                 const char* argument, const any_feature_map& f) {
  c.no_overlap(output, out, argument, f.weight).no_overlap(output, out, argument, f.bias);
  c.no_overlap(output, out, argument, f.anchors);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
