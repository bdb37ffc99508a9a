// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<dlpack/dlpack.h>)
#error "seqmix/interop/dlpack.hpp needs <dlpack/dlpack.h> (Debian: libdlpack-dev)"
#endif

// Opt-in. Neither direction owns anything: the memory's lifetime stays with its owner.
#include <dlpack/dlpack.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <seqmix/core/checks.hpp>
#include <seqmix/core/tensor_view.hpp>
#include <string>
#include <type_traits>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

constexpr DLDataType dlpack_type(scalar_type type) noexcept {
  const DLDataTypeCode code =
      is_integral(type) ? kDLInt : (type == scalar_type::bf16 ? kDLBfloat : kDLFloat);
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * size_of(type)), 1};
}

inline std::string dlpack_type_text(DLDataType t) {
  return "dtype {code " + std::to_string(t.code) + ", bits " + std::to_string(t.bits) + ", lanes " +
         std::to_string(t.lanes) + "}";
}

}  // namespace detail

/// The shape and strides that a DLTensor points to; the caller keeps them as long as the DLTensor.
template <std::size_t Rank>
struct dlpack_shape {
  std::int64_t extents[Rank];
  std::int64_t strides[Rank];
};

/// A DLTensor as a view. Null strides mean dense row-major. A tensor without elements may have null
/// data. An element type other than T, another rank, a device other than CPU, CUDA and pinned CUDA
/// memory, a negative extent or misaligned data is a `seqmix::error`.
template <scalar T, std::size_t Rank>
tensor_view<T, Rank> from_dlpack(const DLTensor& t) {
  const auto refuse = [](const char* argument, std::string expected, std::string actual) {
    detail::report({"from_dlpack", argument, std::move(expected), std::move(actual)});
    return tensor_view<T, Rank>{};
  };
  if (t.ndim != static_cast<int>(Rank)) {
    return refuse("ndim", std::to_string(Rank), std::to_string(t.ndim));
  }
  const DLDataType type = detail::dlpack_type(scalar_type_of<T>);
  if (t.dtype.code != type.code || t.dtype.bits != type.bits || t.dtype.lanes != type.lanes) {
    return refuse("dtype", detail::dlpack_type_text(type) + " for " + name(scalar_type_of<T>),
                  detail::dlpack_type_text(t.dtype));
  }
  device memory;
  switch (t.device.device_type) {
    case kDLCPU:
      break;
    case kDLCUDA:
      memory = {device_kind::cuda, t.device.device_id};
      break;
    case kDLCUDAHost:
      memory = {device_kind::cuda_pinned, t.device.device_id};
      break;
    default:
      return refuse("device", "CPU, CUDA or CUDA host memory",
                    "device type " + std::to_string(static_cast<int>(t.device.device_type)));
  }
  if (t.shape == nullptr) {
    return refuse("shape", "an array of " + std::to_string(Rank), "a null pointer");
  }
  std::array<std::int64_t, Rank> extents{};
  std::array<std::int64_t, Rank> strides{};
  std::int64_t step = 1;
  for (std::size_t a = Rank; a-- > 0;) {
    extents[a] = t.shape[a];
    if (extents[a] < 0) {
      return refuse("shape", "extents of at least 0",
                    "axis " + std::to_string(a) + " = " + std::to_string(extents[a]));
    }
    strides[a] = t.strides == nullptr ? step : t.strides[a];
    if (extents[a] != 0 && step > INT64_MAX / extents[a]) {
      return refuse("shape", "a number of elements that 64 bits hold", detail::shape_text(extents));
    }
    step *= extents[a];
  }
  if (t.data == nullptr) {
    if (step != 0) {
      return refuse("data", "data for shape " + detail::shape_text(extents), "a null pointer");
    }
    return {nullptr, index_list<Rank>(extents), index_list<Rank>(strides), memory};
  }
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(t.data) + t.byte_offset;
  if (address % alignof(T) != 0) {
    return refuse("byte_offset", "data aligned to " + std::to_string(alignof(T)) + " bytes",
                  std::to_string(address % alignof(T)) + " bytes past");
  }
  return {reinterpret_cast<T*>(address), index_list<Rank>(extents), index_list<Rank>(strides),
          memory};
}

/// A view as a DLTensor that points into `shape`. DLPack has no const: who receives it must know
/// that a view of const elements is not to be written.
template <class T, std::size_t Rank>
DLTensor to_dlpack(const tensor_view<T, Rank>& v, dlpack_shape<Rank>& shape) noexcept {
  static_assert(scalar<T>, "DLPack has no name for this element type");
  for (std::size_t a = 0; a < Rank; ++a) {
    shape.extents[a] = v.extent(a);
    shape.strides[a] = v.stride(a);
  }
  const device d = v.memory();
  DLTensor t{};
  t.data = const_cast<std::remove_const_t<T>*>(v.data_handle());
  t.device.device_type = d.kind == device_kind::cuda          ? kDLCUDA
                         : d.kind == device_kind::cuda_pinned ? kDLCUDAHost
                                                              : kDLCPU;
  t.device.device_id = d.ordinal;
  t.ndim = static_cast<int>(Rank);
  t.dtype = detail::dlpack_type(scalar_type_of<T>);
  t.shape = shape.extents;
  t.strides = shape.strides;
  return t;
}

SEQMIX_END_NAMESPACE
