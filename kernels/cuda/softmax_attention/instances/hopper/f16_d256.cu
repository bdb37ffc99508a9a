// SPDX-License-Identifier: Apache-2.0
#include "../../sm90/launch.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

template int launch_hopper_prefill<f16, 256>(const attention_params&, void*);

}  // namespace cuda

SEQMIX_END_NAMESPACE
