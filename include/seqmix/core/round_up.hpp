// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The multiple of `multiple` that n >= 0 things need.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) noexcept {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
