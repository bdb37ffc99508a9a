// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

#include <cstdint>
#include <seqmix/core/scalar.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// A tensor of four axes, from the outermost in; strides in elements of 16 bits.
struct mapped_tensor {
  const void* data;
  scalar_type type;
  std::int64_t extents[4];
  const std::int64_t* strides;
};

/// Whether the copy engine can read the tensor: rows of neighbouring elements on addresses of whole
/// 16 bytes, and no axis that is walked backwards.
bool can_map(const mapped_tensor& t) noexcept;

/// The tensor, whose axes are batch, tokens, heads and elements, for the copy engine: in boxes of
/// 64 elements of some heads of some tokens, whose 16-byte chunks it exchanges on the way as wgmma
/// wants them. False where the driver has no such function.
bool make_map(CUtensorMap& map, const mapped_tensor& t, int tokens, int heads) noexcept;

}  // namespace cuda

SEQMIX_END_NAMESPACE
