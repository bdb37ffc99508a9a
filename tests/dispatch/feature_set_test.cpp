// SPDX-License-Identifier: Apache-2.0
#include <seqmix/dispatch/feature_set.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

#include <set>
#include <string>

#include "support/catch.hpp"

namespace {
enum class feature { a, b, c, last = 63 };
using set = seqmix::dispatch::feature_set<feature>;
}  // namespace

TEST_CASE("a set holds what was added") {
  set s{feature::a, feature::last};
  CHECK(s.contains(feature::a));
  CHECK(!s.contains(feature::b));
  CHECK(s.contains(feature::last));
  s.add(feature::b);
  CHECK(s.contains(feature::b));
  s.add(feature::c, false);
  CHECK(!s.contains(feature::c));
  s.add(feature::b, false);  // a condition does not take away
  CHECK(s.contains(feature::b));
}

TEST_CASE("what a problem requires and an implementation lacks") {
  constexpr set required{feature::b, feature::c, feature::last};
  constexpr set supported{feature::a, feature::c};
  constexpr set lacking = required.without(supported);
  static_assert(!lacking.empty() && lacking.first() == feature::b);
  CHECK(lacking.contains(feature::last));
  CHECK(!lacking.contains(feature::c));
  CHECK(required.without(required).empty());
  CHECK(set{}.empty());
  CHECK(set{feature::last}.first() == feature::last);
}

TEST_CASE("every feature of softmax_attention has a name of its own") {
  using seqmix::softmax_attention_feature;
  std::set<std::string> names;
  const int last = static_cast<int>(softmax_attention_feature::relative_bias);
  for (int f = 0; f <= last; ++f) {
    names.insert(name(static_cast<softmax_attention_feature>(f)));
  }
  CHECK(static_cast<int>(names.size()) == last + 1);
  CHECK(std::string(name(softmax_attention_feature::mixed_types)) == "mixed_types");
  CHECK(std::string(name(softmax_attention_feature::paged)) == "paged (a block table)");
}
