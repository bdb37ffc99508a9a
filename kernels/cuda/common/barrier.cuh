// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ptx.cuh"

// What the warps of one block of sm_90a threads wait for: barriers in shared memory, on which the
// copy engine counts bytes, and the hardware's numbered ones.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// One barrier, of 8 bytes in shared memory. Its phases are told apart by their parity, so that
/// nobody may be two phases behind.
struct shared_barrier {
  std::uint32_t address;

  __device__ __forceinline__ void init(std::uint32_t arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(address), "r"(arrivals)
                 : "memory");
  }
  __device__ __forceinline__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(address) : "memory");
  }
  /// Arrives, and has the phase wait for as many bytes of the copy engine, too.
  __device__ __forceinline__ void arrive_and_expect(std::uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(address),
                 "r"(bytes)
                 : "memory");
  }
  /// Waits for the end of the phase of this parity. The hint of how long an attempt may last keeps
  /// warps that wait from taking turns of those that compute.
  __device__ __forceinline__ void wait(std::uint32_t parity) const {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1, 0x989680;\n"
        "@done bra ended;\n"
        "bra again;\n"
        "ended:\n"
        "}\n" ::"r"(address),
        "r"(parity)
        : "memory");
  }
};

/// Makes the barriers' first state known to the copy engine.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

/// What was written to shared memory becomes visible to the copy engine and the tensor cores.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/// The numbered barriers; 0 is __syncthreads'. `threads` counts those that wait and those that
/// only arrive.
__device__ __forceinline__ void named_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

/// Moves registers between the warpgroups of a block. All four warps of one take part.
template <int Registers>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(Registers));
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
