// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ptx.cuh"

// The barriers of kernels/cuda/common/barrier.cuh.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

struct shared_barrier {
  std::uint32_t address;

  void init(std::uint32_t arrivals) const {
    seqmix_test::this_block.in_memory.init(address, arrivals);
  }
  void arrive() const { seqmix_test::this_block.in_memory.arrive(address, 0); }
  void arrive_and_expect(std::uint32_t bytes) const {
    seqmix_test::this_block.in_memory.arrive(address, bytes);
  }
  void wait(std::uint32_t parity) const { seqmix_test::this_block.in_memory.wait(address, parity); }
};

inline void publish_barriers() { seqmix_test::this_block.in_memory.publish(); }

inline void fence_async_proxy() { seqmix_test::this_block.shared.fence(); }

inline void named_sync(int id, int threads) { seqmix_test::this_block.numbered.sync(id, threads); }
inline void named_arrive(int id, int threads) {
  seqmix_test::this_block.numbered.arrive(id, threads);
}

template <int Registers>
void give_registers() {
  seqmix_test::this_block.registers.give(Registers);
}
template <int Registers>
void take_registers() {
  seqmix_test::this_block.registers.take(Registers);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
