// SPDX-License-Identifier: Apache-2.0
#include "../sm80/launch.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

template int launch_prefill<SEQMIX_CUDA_FAMILY, f16, 192>(const attention_params&, void*);
template int launch_decode<SEQMIX_CUDA_FAMILY, f16, 192>(const attention_params&, void*);

}  // namespace cuda

SEQMIX_END_NAMESPACE
