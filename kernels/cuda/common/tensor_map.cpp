// SPDX-License-Identifier: Apache-2.0
#include "tensor_map.hpp"

#include <cuda_runtime_api.h>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

using encode_function = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                     const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                     const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                     CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// The driver's function, found once; null when it has none.
encode_function encode() noexcept {
  static const encode_function found = []() -> encode_function {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                                12000, cudaEnableDefault, &result);
    if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) {
      return nullptr;
    }
    return reinterpret_cast<encode_function>(function);
  }();
  return found;
}

constexpr std::int64_t most_stride = std::int64_t{1} << 39;  // elements; less than 2^40 bytes

}  // namespace

bool can_map(const mapped_tensor& t) noexcept {
  bool fits = reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0 && encode() != nullptr;
  fits &= t.extents[3] <= 1 || t.strides[3] == 1;
  for (int axis = 0; axis < 3; ++axis) {
    fits &= t.extents[axis] <= 1 ||
            (t.strides[axis] >= 0 && t.strides[axis] % 8 == 0 && t.strides[axis] < most_stride);
  }
  return fits;
}

bool make_map(CUtensorMap& map, const mapped_tensor& t, int tokens, int heads) noexcept {
  if (encode() == nullptr) {
    return false;
  }
  cuuint64_t extents[4];
  cuuint64_t strides[3];
  for (int i = 0; i < 4; ++i) {
    const int axis = 3 - i;
    const std::int64_t extent = t.extents[axis];
    extents[i] = static_cast<cuuint64_t>(extent < 1 ? 1 : extent);
    if (i > 0) {
      // The stride of an axis of one entry may be anything.
      strides[i - 1] =
          extent <= 1 ? 16 : static_cast<cuuint64_t>(t.strides[axis]) * sizeof(std::uint16_t);
    }
  }
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(heads), static_cast<cuuint32_t>(tokens), 1};
  constexpr cuuint32_t every[] = {1, 1, 1, 1};
  const CUtensorMapDataType type = t.type == scalar_type::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                               : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  return encode()(&map, type, 4, const_cast<void*>(t.data), extents, strides, box, every,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
