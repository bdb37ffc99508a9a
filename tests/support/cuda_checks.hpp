// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace seqmix_test {

inline void cuda_check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(status) + ", " +
                             cudaGetErrorString(status));
  }
}

/// Failures in destructors, which cannot throw. A program with any does not pass.
inline int& cuda_cleanup_failures() noexcept {
  static int count = 0;
  return count;
}
inline void cuda_note(cudaError_t status, const char* what) noexcept {
  if (status != cudaSuccess) {
    ++cuda_cleanup_failures();
    std::fprintf(stderr, "%s: %s, %s\n", what, cudaGetErrorName(status),
                 cudaGetErrorString(status));
  }
}

inline int cuda_device_count() noexcept {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

inline int current_cuda_device() {
  int ordinal = -1;
  cuda_check(cudaGetDevice(&ordinal), "cudaGetDevice");
  return ordinal;
}

/// Makes a device current for a while.
class cuda_device_scope {
 public:
  explicit cuda_device_scope(int ordinal) : before_(current_cuda_device()) {
    cuda_check(cudaSetDevice(ordinal), "cudaSetDevice");
  }
  cuda_device_scope(const cuda_device_scope&) = delete;
  cuda_device_scope& operator=(const cuda_device_scope&) = delete;
  ~cuda_device_scope() { cuda_note(cudaSetDevice(before_), "cudaSetDevice"); }

 private:
  int before_;
};

/// A stream that does not wait for the default stream, nor the other way round.
class cuda_stream {
 public:
  cuda_stream() {
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  cuda_stream(const cuda_stream&) = delete;
  cuda_stream& operator=(const cuda_stream&) = delete;
  ~cuda_stream() {
    cuda_note(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    cuda_note(cudaStreamDestroy(stream_), "cudaStreamDestroy");
  }
  cudaStream_t get() const noexcept { return stream_; }
  void synchronise() const { cuda_check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace seqmix_test
