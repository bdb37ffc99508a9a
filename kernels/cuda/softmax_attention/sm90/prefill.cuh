// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "computing.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Softmax attention of many query rows on sm_90a. Blocks of threads stay for the whole launch. A
/// file that is compiled for other architectures, too, has an empty kernel for those.
template <class Config, class Score>
__global__ void __launch_bounds__(Config::threads, 1)
    hopper_prefill_kernel(const __grid_constant__ attention_params p,
                          const __grid_constant__ launch_shape shape,
                          const __grid_constant__ tensor_maps maps,
                          const __grid_constant__ Score score) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ unsigned char shared_memory[];
  using located = located_item<Config::block_keys>;
  __shared__ __align__(alignof(located)) unsigned char slots[Config::item_slots * sizeof(located)];
  const auto at = hopper_layout<Config>::at(shared_address(shared_memory));
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    constexpr int warps = 4 * Config::warpgroups;
    for (int tile = 0; tile < Config::warpgroups * Config::q_stages; ++tile) {
      at.q_full(0, tile).init(1);
      at.q_empty(0, tile).init(4);
    }
    for (int slot = 0; slot < Config::item_slots; ++slot) {
      at.item_full(slot).init(1);
      at.item_empty(slot).init(warps + 1 + checking_warps);
    }
    for (int stage = 0; stage < Config::stages; ++stage) {
      at.k_full(stage).init(1);
      at.v_full(stage).init(1);
      at.k_empty(stage).init(warps);
      at.v_empty(stage).init(warps);
      at.v_to_check(stage).init(1);
      at.v_checked(stage).init(checking_warps);
    }
    publish_barriers();
  }
  __syncthreads();

  const item_queue<Config> items{at, reinterpret_cast<located*>(slots), {}};
  if (thread < 128) {
    give_registers<Config::loading_registers>();
    if (thread < 32) {
      load_items<Config>(p, shape, score, maps, items);
    } else if (thread < 96) {
      check_values<Config>(shape, score, items, thread - 32);
    } else if (p.packed || p.k_lengths.data != nullptr) {
      const std::uint32_t kept = at.kept_sequences() - shared_address(shared_memory);
      const ranked_schedule<Config> schedule(
          p, shape, reinterpret_cast<sequence_levels*>(shared_memory + kept));
      find_items<Config>(p, shape, score, schedule, items);
    } else {
      find_items<Config>(p, shape, score, even_schedule<Config>{p, shape}, items);
    }
  } else {
    take_registers<Config::computing_registers>();
    computing_warpgroup<Config, Score> compute{
        p, shape, score, maps, at, uniform(thread / 128 - 1), items};
    compute.run();
  }
#endif
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
