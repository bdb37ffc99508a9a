// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <seqmix/core/error.hpp>
#include <seqmix/dispatch/registry.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What dispatch needs to know about a GPU.
struct gpu {
  dispatch::fixed_text<64> name;  ///< the driver's name for it
  int major = 0;                  ///< compute capability
  int minor = 0;
  std::size_t bytes = 0;  ///< of its memory
  int processors = 0;     ///< multiprocessors
};

/// The GPUs that CUDA lets this process use.
struct gpu_list {
  static constexpr int most = 64;
  int count = 0;
  gpu gpus[most];
  dispatch::fixed_text<128> problem;  ///< why there is none
};

/// Looks once in the life of the process. Initialises the driver, creates no context.
const gpu_list& gpus() noexcept;

/// Whether the process already has the primary context of a GPU, so that work there does not wait
/// for its creation.
bool has_context(int ordinal) noexcept;

/// Makes a GPU the calling thread's current one, and the former one again at the end.
class current_gpu {
 public:
  explicit current_gpu(int ordinal) noexcept;
  current_gpu(const current_gpu&) = delete;
  current_gpu& operator=(const current_gpu&) = delete;
  ~current_gpu();

  int status() const noexcept { return status_; }  ///< a cudaError_t

 private:
  int before_ = -1;
  int status_;
};

/// A CUDA error as the violation of an operator's call; nothing for cudaSuccess.
detail::violation cuda_violation(const char* operator_name, const char* what, int status);

}  // namespace cuda

SEQMIX_END_NAMESPACE
