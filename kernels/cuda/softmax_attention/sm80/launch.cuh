// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "../../common/kernel_launch.cuh"
#include "../launch.hpp"
#include "decode.cuh"
#include "prefill.cuh"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

template <class Arch, class T, int W, bool Vectors, class Score>
cudaError_t launch_prefill_as(attention_params p, Score score, cudaStream_t stream) {
  using config = prefill_config<Arch, T, W, Vectors>;
  p.row_blocks = static_cast<std::int32_t>((p.max_q + config::block_rows - 1) / config::block_rows);
  const std::int64_t blocks = std::int64_t{p.row_blocks} * p.heads * p.sequences;
  return launch_kernel<&prefill_kernel<config, Score>>(blocks, config::threads,
                                                       config::shared_bytes, stream, p, score);
}

template <class Arch, class T, int W, bool Vectors, class Score>
cudaError_t launch_decode_as(attention_params p, Score score, cudaStream_t stream) {
  using config = decode_config<Arch, T, W, Vectors>;
  const std::int64_t rows = most_decode_rows(p);
  // Packed sequences may be many of which few are decoded: one block each asks.
  p.row_blocks = p.packed ? 1 : static_cast<std::int32_t>(decode_row_blocks(rows));
  const std::int64_t blocks = std::int64_t{p.row_blocks} * p.kv_heads * p.sequences *
                              (p.partials != nullptr ? p.splits : 1);
  return launch_kernel<&decode_kernel<config, Score>>(
      blocks, config::threads,
      {config::shared_bytes(rows), config::shared_bytes(config::block_rows)}, stream, p, score);
}

// The library's own. Only where it pays, in prefill of vectors, has the call without terms a kernel
// of its own. On Hopper prefill comes here with what its own kernel cannot read.

template <class Arch, class T, int W>
int launch_prefill(const attention_params& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if constexpr (!std::is_same_v<Arch, hopper>) {
    if (p.vectors) {
      return has_terms(p) ? launch_prefill_as<Arch, T, W, true>(p, term_score{}, on)
                          : launch_prefill_as<Arch, T, W, true>(p, plain_score{}, on);
    }
  }
  return launch_prefill_as<Arch, T, W, false>(p, term_score{}, on);
}

template <class Arch, class T, int W>
int launch_decode(const attention_params& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return p.vectors ? launch_decode_as<Arch, T, W, true>(p, term_score{}, on)
                   : launch_decode_as<Arch, T, W, false>(p, term_score{}, on);
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
