// SPDX-License-Identifier: Apache-2.0
#include "gpu.hpp"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

gpu_list look() noexcept {
  gpu_list found;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) {
      found.problem.append("a CUDA driver on this machine");
    } else {
      found.problem.append("a usable CUDA device (");
      found.problem.append(status == cudaSuccess ? "none found" : cudaGetErrorString(status));
      found.problem.append(")");
    }
    (void)cudaGetLastError();  // the next caller of CUDA shall not find it
    return found;
  }
  found.count = count < gpu_list::most ? count : gpu_list::most;
  for (int i = 0; i < found.count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
      found.gpus[i] = {properties.name, properties.major, properties.minor,
                       properties.totalGlobalMem, properties.multiProcessorCount};
    }
  }
  return found;
}

/// A function of the driver, which is never linked; null where it is missing.
template <class Function>
Function* driver_function(const char* name) noexcept {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result{};
  if (cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &result) !=
          cudaSuccess ||
      result != cudaDriverEntryPointSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return reinterpret_cast<Function*>(address);
}

}  // namespace

const gpu_list& gpus() noexcept {
  static const gpu_list found = look();
  return found;
}

bool has_context(int ordinal) noexcept {
  static const auto device_get = driver_function<decltype(cuDeviceGet)>("cuDeviceGet");
  static const auto state =
      driver_function<decltype(cuDevicePrimaryCtxGetState)>("cuDevicePrimaryCtxGetState");
  CUdevice device = 0;
  unsigned flags = 0;
  int active = 0;
  return device_get != nullptr && state != nullptr &&
         device_get(&device, ordinal) == CUDA_SUCCESS &&
         state(device, &flags, &active) == CUDA_SUCCESS && active != 0;
}

current_gpu::current_gpu(int ordinal) noexcept {
  int current = -1;
  status_ = cudaGetDevice(&current);
  if (status_ == cudaSuccess && current != ordinal) {
    status_ = cudaSetDevice(ordinal);
    before_ = status_ == cudaSuccess ? current : -1;
  }
}

current_gpu::~current_gpu() {
  if (before_ >= 0) {
    (void)cudaSetDevice(before_);
  }
}

detail::violation cuda_violation(const char* operator_name, const char* what, int status) {
  if (status == cudaSuccess) {
    return {};
  }
  (void)cudaGetLastError();  // reported here, not to the next caller of CUDA as well
  const auto code = static_cast<cudaError_t>(status);
  return error(operator_name, what, "no CUDA error",
               std::string(cudaGetErrorName(code)) + " (" + cudaGetErrorString(code) + ")");
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
