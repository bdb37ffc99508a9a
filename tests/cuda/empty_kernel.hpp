// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

/// Launches a kernel that does nothing: what no launch can be quicker than.
cudaError_t launch_empty(cudaStream_t stream);
