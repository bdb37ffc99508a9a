// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// What decides whether host tensors are worth a trip to a GPU under `device_policy::automatic`:
/// constants, measured once for each GPU model and never at run time.
struct staging_constants {
  std::string_view gpu = "";                ///< how the GPU's name begins; empty: any
  double pageable_bytes_per_second = 6e9;   ///< copies of ordinary memory
  double pinned_bytes_per_second = 20e9;    ///< copies of page-locked memory
  double operations_per_second = 60e12;     ///< of the kernels on problems of some size
  double fixed_seconds = 100e-6;            ///< a call's launches, copies and waits
  double context_seconds = 1.0;             ///< creating the process's CUDA context
  double cpu_operations_per_second = 60e9;  ///< of the CPU implementation, one thread
};

/// A call on host tensors, as the decision sees it.
struct staging_work {
  double operations = 0;
  double bytes = 0;  ///< to the GPU and back
  bool pinned = false;
  bool has_context = false;
  int threads = 1;  ///< of the executor that the CPU would use
};

/// Calls of fewer operations stay on the CPU, and CUDA is not even initialised for them.
inline constexpr double least_staged_operations = 2e9;

/// The table's entry for a GPU, or what `set_staging_constants` put in its place.
staging_constants staging_constants_for(std::string_view gpu);

/// Replaces the table for every GPU of this process. `gpu` must outlive the program's calls.
void set_staging_constants(const staging_constants& constants);

/// Goes back to the table.
void reset_staging_constants();

/// Whether the GPU is expected to be done sooner.
bool worth_staging(const staging_constants& c, const staging_work& work) noexcept;

}  // namespace cuda

SEQMIX_END_NAMESPACE
