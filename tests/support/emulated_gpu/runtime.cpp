// SPDX-License-Identifier: Apache-2.0
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "common/ptx.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

alignas(1024) constinit thread_local unsigned char shared_memory[227 * 1024];

}  // namespace cuda

SEQMIX_END_NAMESPACE

// As much of the CUDA runtime, in place of it, as launches ask for.

namespace {

using seqmix_test::encoded_map;

/// cuTensorMapEncodeTiled for the only kind of map that is emulated.
CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
                const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
  bool fits = rank == 4 && reinterpret_cast<std::uintptr_t>(base) % 16 == 0 && box[0] == 64;
  fits &= type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 || type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  fits &= interleave == CU_TENSOR_MAP_INTERLEAVE_NONE && swizzle == CU_TENSOR_MAP_SWIZZLE_128B &&
          fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  encoded_map m{static_cast<std::byte*>(base), {}, {}, {}};
  for (int axis = 0; axis < 4; ++axis) {
    m.extents[axis] = extents[axis];
    m.box[axis] = box[axis];
    fits &= extents[axis] >= 1 && extents[axis] <= std::uint64_t{1} << 32 && box[axis] >= 1 &&
            box[axis] <= 256 && element_strides[axis] == 1;
  }
  for (int axis = 0; axis < 3; ++axis) {
    m.strides[axis] = strides[axis];
    fits &= strides[axis] % 16 == 0 && strides[axis] < std::uint64_t{1} << 40;
  }
  std::memcpy(map, &m, sizeof(m));
  return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? seqmix_test::this_gpu.processors : 0;
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::string_view(symbol) == "cuTensorMapEncodeTiled";
  *function = known ? reinterpret_cast<void*>(&encode) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
