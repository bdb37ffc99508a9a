// SPDX-License-Identifier: Apache-2.0
#include "amx_instances.hpp"

#include <seqmix/ops/softmax_attention/bf16_tiles_cpu.hpp>
#include <seqmix/simd/amx.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::amx {

namespace {

template <class TO>
using tiles = detail::bf16_tiles_cpu<TO, simd::amx_tiles, simd::amx_arch>;

}  // namespace

constinit const attention tiles_bf16 = {"amx", dispatch::processor::cpu, &tiles<bf16>::query,
                                        &tiles<bf16>::run};
constinit const attention tiles_f32 = {"amx", dispatch::processor::cpu, &tiles<float>::query,
                                       &tiles<float>::run};

}  // namespace multiarch::amx

SEQMIX_END_NAMESPACE
