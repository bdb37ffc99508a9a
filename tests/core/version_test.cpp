// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/version.hpp>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

// What the inline namespace is for: the version, and nothing else, is part of every name.
SEQMIX_BEGIN_NAMESPACE
struct version_probe {};
SEQMIX_END_NAMESPACE

TEST_CASE("the version's macro, string and numbers agree") {
  const std::string numbers = std::to_string(SEQMIX_VERSION_MAJOR) + "." +
                              std::to_string(SEQMIX_VERSION_MINOR) + "." +
                              std::to_string(SEQMIX_VERSION_PATCH);
  CHECK(numbers == SEQMIX_VERSION_STRING);
  CHECK(numbers == seqmix::version_string());
}

TEST_CASE("the inline namespace carries the major and the minor version") {
  const bool same = std::is_same_v<seqmix::version_probe, seqmix::v0_1::version_probe>;
  CHECK(same);
  CHECK(SEQMIX_VERSION_MAJOR == 0);
  CHECK(SEQMIX_VERSION_MINOR == 1);
}
