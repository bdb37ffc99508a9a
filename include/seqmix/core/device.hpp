// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

enum class device_kind : std::int32_t {
  host,         ///< ordinary memory
  cuda_pinned,  ///< page-locked host memory: the CPU reads it, the GPU copies from it at full speed
  cuda,         ///< memory of the CUDA device `ordinal`
};

/// The owner of a tensor's memory, in the sense of a DLPack device.
struct device {
  device_kind kind = device_kind::host;
  std::int32_t ordinal = 0;

  /// Whether the CPU may dereference the pointer.
  constexpr bool on_host() const noexcept { return kind != device_kind::cuda; }

  friend constexpr bool operator==(device, device) = default;
};

SEQMIX_END_NAMESPACE
