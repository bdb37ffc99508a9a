// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/score.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The place of a query among the keys.
SEQMIX_HOST_DEVICE constexpr std::int64_t place_of_query(std::int64_t query, std::int64_t queries,
                                                         std::int64_t keys) noexcept {
  return query + keys - queries;
}

/// floor(place / size), also for the negative places of queries without a key.
SEQMIX_HOST_DEVICE constexpr std::int64_t floor_divide(std::int64_t place,
                                                       std::int64_t size) noexcept {
  return place >= 0 ? place / size : -((size - 1 - place) / size);
}

/// What a rule says of a block that it divides into cells: rows [q0, q1] and columns [k0, k1] of
/// cells, of which row r sees columns [r - left, r + right]; -1: unbounded.
SEQMIX_HOST_DEVICE constexpr block_visibility band_of_cells(std::int64_t q0, std::int64_t q1,
                                                            std::int64_t k0, std::int64_t k1,
                                                            std::int64_t left,
                                                            std::int64_t right) noexcept {
  const bool none = (left >= 0 && k1 < q0 - left) || (right >= 0 && k0 > q1 + right);
  const bool all = (left < 0 || k0 >= q1 - left) && (right < 0 || k1 <= q0 + right);
  return none ? block_visibility::empty : all ? block_visibility::full : block_visibility::partial;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
