// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/feature_check.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Options of `features`. Members are only ever appended.
struct features_options {
  any_feature_map map{};                    ///< which, from an enumerator or a struct of parameters
  feature_role role = feature_role::query;  ///< of random features: whose stabiliser
};

/// The descriptor of one call.
struct features_problem {
  static constexpr const char* operator_name = "features";

  any_view<4> x;  // [B, T, H, K]
  any_out<4> o;   // [B, T, H, F]
  any_feature_map map;
  feature_role role = feature_role::query;
};

namespace detail {

/// Checks the contract of a call and completes the descriptor.
template <class Tag>
violation check_features_call(features_problem& p, const features_options& options) {
  contract<Tag> c{features_problem::operator_name};
  const auto [B, T, H, K] = p.x.extents;
  p.map = options.map;
  p.role = options.role;
  c.tensor("x", p.x).tensor("o", p.o);
  c.in_range("x.extent(K)", K, 1, most_features);
  c.require(p.role == feature_role::query || p.role == feature_role::key, "options.role",
            "query or key", static_cast<int>(p.role));
  if (c.holds()) {
    check_feature_map(c, "options.map", p.map, T, H, K, p.x.memory);
  }
  if (c.holds()) {
    c.shape("o", p.o, {B, T, H, feature_count(p.map, K)}, "[B, T, H, F]");
    c.same_device("o", p.o.memory, "x", p.x.memory).no_overlap("o", p.o, "x", p.x);
    check_apart(c, "o", p.o, "options.map", p.map);
    c.no_self_overlap("o", p.o);
  }
  return c.result();
}

}  // namespace detail

SEQMIX_END_NAMESPACE
