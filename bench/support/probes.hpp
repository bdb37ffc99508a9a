// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/executor.hpp>
#include <seqmix/core/scalar.hpp>

namespace seqmix_bench {

/// Fused multiply-adds on registers alone, in the vector instructions that seqmix is compiled to:
/// FLOP/s, of float, or of double when `compute` is f64.
double fma_rate(seqmix::executor_ref executor, seqmix::scalar_type compute);

/// Bytes/s of a vector sum over memory that lies in no cache.
double read_rate(seqmix::executor_ref executor);

/// Bytes/s, read and written, of std::memcpy between such memory.
double copy_rate(seqmix::executor_ref executor);

/// Bytes of the largest caches of this machine together.
std::int64_t last_level_cache_bytes();

/// Makes the probes quicker and coarser.
void use_short_probes();

}  // namespace seqmix_bench
