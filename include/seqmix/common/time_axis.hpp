// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/any_view.hpp>

SEQMIX_BEGIN_NAMESPACE

/// Which way a recurrence runs over its tokens. Reverse equals a forward run on the tokens in
/// reverse order, its outputs back in place.
enum class scan_direction { forward, reverse };

/// Packed sequences of a recurrence: all tensors have one time axis.
struct recurrence_varlen {
  any_view<1> offsets{};   ///< [N + 1] int32 or int64, from 0, into the time axis
  std::int64_t max_t = 0;  ///< longest sequence; needed when the offsets are on a device
};

SEQMIX_END_NAMESPACE
