// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/scalar.hpp>

#include "params.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The kernel families: which architectures a launcher was compiled for.
struct portable {};  // sm_80 and, through PTX, everything later
struct hopper {};    // sm_90a

/// Launches on the current device and on `stream`, a cudaStream_t; gives a cudaError_t. One
/// function for each kernel, instantiated in instances/: kernels themselves are local to their
/// unit.
template <class Arch, class T, int D>
int launch_prefill(const attention_params& p, void* stream);

template <class Arch, class T, int D>
int launch_decode(const attention_params& p, void* stream);

}  // namespace cuda

SEQMIX_END_NAMESPACE
