// SPDX-License-Identifier: Apache-2.0
#include "../sm80/combine.cuh"

#include "../launch.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

template int launch_combine<SEQMIX_CUDA_FAMILY, bf16>(const attention_params&, void*);

}  // namespace cuda

SEQMIX_END_NAMESPACE
